# stb's headers hold code: as a system directory their warnings are left out. Its arithmetic on damaged files
# relies on wrapping integers.
target_include_directories(tandem_data_objects SYSTEM PRIVATE ${STB_INCLUDE_DIR})
set_source_files_properties(${root}/src/data/image_stb.c PROPERTIES COMPILE_OPTIONS "-Wno-unused-function;-fwrapv")
# The resampling loops gain from wider vectors than -O2 alone asks for.
set_source_files_properties(${root}/src/data/image_resize.c PROPERTIES COMPILE_OPTIONS "-O3")
