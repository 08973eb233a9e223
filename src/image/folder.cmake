# stb_image_write.h holds code: as a system directory its warnings are left out. It relies on wrapping integers.
target_include_directories(tandem_image_objects SYSTEM PRIVATE ${STB_INCLUDE_DIR})
set_source_files_properties(${root}/src/image/image_encode.c PROPERTIES COMPILE_OPTIONS "-Wno-unused-function;-fwrapv")
# The inner loops are compiled once per instruction set; the choice is made at run time (image_kernels.c). All give the
# same bits, so nothing may be contracted.
set(kernel_flags ${tandem_fast} -ffp-contract=off -fno-math-errno -fno-trapping-math)
set_source_files_properties(${root}/src/image/image_kernels_generic.c PROPERTIES COMPILE_OPTIONS "${kernel_flags}")
set_source_files_properties(
  ${root}/src/image/image_tensor.c ${root}/src/image/image_policy.c ${root}/src/image/augment_blur.c
  PROPERTIES COMPILE_OPTIONS "${kernel_flags}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set_source_files_properties(${root}/src/image/image_kernels_avx2.c PROPERTIES COMPILE_OPTIONS
                              "${kernel_flags};-march=x86-64-v3;-mprefer-vector-width=256")
  set_source_files_properties(${root}/src/image/image_kernels_avx512.c PROPERTIES COMPILE_OPTIONS
                              "${kernel_flags};-march=x86-64-v4;-mprefer-vector-width=512")
else()
  set_source_files_properties(${root}/src/image/image_kernels_avx2.c ${root}/src/image/image_kernels_avx512.c PROPERTIES
                              HEADER_FILE_ONLY TRUE)
endif()
