# kernels_body.h, attention_body.h and gemm_body.h are compiled once per instruction set; the table of function pointers is chosen
# at run time. Contraction to FMA is wanted; reordering of sums is only where the source asks for it (omp simd).
set(kernel_flags ${tandem_fast} -fopenmp-simd -ffp-contract=fast -fno-math-errno -fno-trapping-math)
set_property(GLOBAL PROPERTY tandem_kernel_flags ${kernel_flags})
set_source_files_properties(${root}/src/ops/kernels_generic.c PROPERTIES COMPILE_OPTIONS "${kernel_flags}")
# Every instruction set gives the same bits: products are rounded before they are added.
set(int8_flags ${tandem_fast} -fopenmp-simd -ffp-contract=off -fno-math-errno -fno-trapping-math)
set_source_files_properties(${root}/src/ops/int8_generic.c PROPERTIES COMPILE_OPTIONS "${int8_flags}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set_source_files_properties(${root}/src/ops/kernels_avx2.c PROPERTIES COMPILE_OPTIONS
                              "${kernel_flags};-march=x86-64-v3;-mprefer-vector-width=256")
  set_source_files_properties(${root}/src/ops/kernels_avx512.c PROPERTIES COMPILE_OPTIONS
                              "${kernel_flags};-march=x86-64-v4;-mprefer-vector-width=512")
  set_source_files_properties(${root}/src/ops/gemm_avx512.c PROPERTIES COMPILE_OPTIONS "-march=x86-64-v4")
  set_source_files_properties(${root}/src/ops/gemm_avx2.c PROPERTIES COMPILE_OPTIONS "-march=x86-64-v3")
  set_source_files_properties(${root}/src/ops/int8_avx2.c PROPERTIES COMPILE_OPTIONS "-march=x86-64-v3;${int8_flags}")
  set_source_files_properties(${root}/src/ops/int8_vnni.c PROPERTIES COMPILE_OPTIONS
                              "-march=x86-64-v4;-mprefer-vector-width=512;-mavx512vnni;${int8_flags}")
else()
  set_source_files_properties(${root}/src/ops/kernels_avx2.c ${root}/src/ops/kernels_avx512.c
                              ${root}/src/ops/gemm_avx512.c ${root}/src/ops/gemm_avx2.c ${root}/src/ops/int8_avx2.c
                              ${root}/src/ops/int8_vnni.c PROPERTIES HEADER_FILE_ONLY TRUE)
endif()

# Matrix products on AMX tiles: compiled where the compiler knows the instructions, used where the CPU has them.
include(CheckCSourceCompiles)
set(amx_flags -mamx-tile -mamx-bf16 -mamx-int8 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16)
string(REPLACE ";" " " CMAKE_REQUIRED_FLAGS "${amx_flags}")
check_c_source_compiles("#include <immintrin.h>
#ifndef __x86_64__
#error
#endif
int main(void) { _tile_dpbf16ps(0, 1, 2); _tile_dpbsud(0, 1, 2); return 0; }" TANDEM_HAVE_AMX)
unset(CMAKE_REQUIRED_FLAGS)
if(NOT TANDEM_BF16 STREQUAL native)
  list(APPEND amx_flags -mavx512vnni) # what stands in for AVX512_BF16 is built of them
endif()
if(TANDEM_HAVE_AMX)
  set_source_files_properties(${root}/src/ops/gemm_amx.c PROPERTIES COMPILE_OPTIONS "${amx_flags}")
  set_source_files_properties(${root}/src/ops/attention_amx.c PROPERTIES COMPILE_OPTIONS "${tandem_fast};${amx_flags}")
  set_source_files_properties(${root}/src/ops/int8_amx.c PROPERTIES COMPILE_OPTIONS "${amx_flags};${int8_flags}")
  set(bf16_flags -march=x86-64-v4 -mavx512bf16)
  if(TANDEM_BF16 STREQUAL emulate)
    set(bf16_flags -march=x86-64-v4)
  elseif(TANDEM_BF16 STREQUAL proxy)
    set(bf16_flags -march=x86-64-v4 -mavx512vnni)
  endif()
  set_source_files_properties(${root}/src/ops/attention_avx512_bf16.c PROPERTIES COMPILE_OPTIONS "${tandem_fast};${bf16_flags}")
  set_source_files_properties(${root}/src/ops/gemm_avx512_bf16.c PROPERTIES COMPILE_OPTIONS "${bf16_flags}")
  target_compile_definitions(tandem_ops_objects PUBLIC TANDEM_HAVE_AMX)
else()
  set_source_files_properties(${root}/src/ops/gemm_amx.c ${root}/src/ops/attention_amx.c ${root}/src/ops/int8_amx.c
                              ${root}/src/ops/attention_avx512_bf16.c ${root}/src/ops/gemm_avx512_bf16.c
                              PROPERTIES HEADER_FILE_ONLY TRUE)
endif()

# Loops over bf16 rows convert in one instruction; contexts of bf16 exist only on CPUs that have it.
if(TANDEM_HAVE_AMX AND TANDEM_BF16 STREQUAL native)
  set_property(SOURCE ${root}/src/ops/kernels_avx512.c APPEND PROPERTY COMPILE_OPTIONS -mavx512bf16)
endif()

set(ops_benches ops_bench gemm_bench)
if(TANDEM_HAVE_AMX)
  list(APPEND ops_benches amx_tiles_bench)
endif()
foreach(bench ${ops_benches})
  add_executable(${bench} EXCLUDE_FROM_ALL ${root}/bench/${bench}.c)
  target_include_directories(${bench} PRIVATE ${root}/src/ops)
  target_link_libraries(${bench} PRIVATE tandem_ops)
  add_dependencies(benchmarks ${bench})
endforeach()
