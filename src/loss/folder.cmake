add_executable(loss_bench EXCLUDE_FROM_ALL ${root}/bench/loss_bench.c)
target_link_libraries(loss_bench PRIVATE tandem_loss)
add_dependencies(benchmarks loss_bench)
