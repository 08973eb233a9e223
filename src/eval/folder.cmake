# One instruction set per kernel file; the choice is made at run time (scores.c). Everything is unrolled.
set(kernels ${root}/src/eval/score_kernel)
set(quick ${root}/src/eval/quick_kernel)
set_source_files_properties(${kernels}_generic.c ${quick}_generic.c PROPERTIES COMPILE_OPTIONS "${tandem_fast}")
# Products are rounded before they are added, so that every instruction set gives the same bits.
set(resample ${root}/src/eval/resample_kernel)
set_source_files_properties(${resample}_generic.c PROPERTIES COMPILE_OPTIONS "${tandem_fast};-ffp-contract=off")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(${kernels}_avx2.c ${quick}_avx2.c PROPERTIES COMPILE_OPTIONS "${tandem_fast};-mavx2;-mfma;-mpopcnt")
  set(avx512 "${tandem_fast};-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mfma;-mprefer-vector-width=512")
  set_source_files_properties(${kernels}_avx512.c PROPERTIES COMPILE_OPTIONS "${avx512}")
  set_source_files_properties(${quick}_avx512.c PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512vnni")
  set_source_files_properties(${resample}_avx2.c PROPERTIES COMPILE_OPTIONS "${tandem_fast};-mavx2;-ffp-contract=off")
  set_source_files_properties(${resample}_avx512.c PROPERTIES
    COMPILE_OPTIONS "${tandem_fast};-mavx512f;-mprefer-vector-width=512;-ffp-contract=off")
endif()

add_executable(eval_bench EXCLUDE_FROM_ALL ${root}/bench/eval_bench.c)
target_link_libraries(eval_bench PRIVATE tandem_eval)
add_dependencies(benchmarks eval_bench)

add_executable(significance_bench EXCLUDE_FROM_ALL ${root}/bench/significance_bench.c)
target_link_libraries(significance_bench PRIVATE tandem_eval)
add_dependencies(benchmarks significance_bench)

add_executable(towers_bench EXCLUDE_FROM_ALL ${root}/bench/towers_bench.c)
target_link_libraries(towers_bench PRIVATE tandem_train tandem_eval)
add_dependencies(benchmarks towers_bench)
