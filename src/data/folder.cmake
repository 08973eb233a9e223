add_executable(loader_bench EXCLUDE_FROM_ALL ${root}/bench/loader_bench.c)
target_link_libraries(loader_bench PRIVATE tandem_data)
add_dependencies(benchmarks loader_bench)
