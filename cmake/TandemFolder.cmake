# tandem_folder(NAME [PATH dir] SEES folder… HEADERS header… LIBS … INCLUDES …)
#
# One folder of src/ is one static library `tandem_NAME`. Its public headers are include/tandem/HEADER.h. It may
# include its own and those of the folders in SEES: the target's only include directory holds links to exactly
# these, so that an include against the direction of the architecture does not compile.
set(TANDEM_FOLDERS "" CACHE INTERNAL "")

function(tandem_folder name)
  cmake_parse_arguments(ARG "" "PATH" "SEES;HEADERS;LIBS;INCLUDES" ${ARGN})
  if(NOT ARG_PATH)
    set(ARG_PATH src/${name})
  endif()
  set(root ${PROJECT_SOURCE_DIR})
  set(see ${PROJECT_BINARY_DIR}/see/${name}/tandem)
  file(REMOVE_RECURSE ${see})
  file(MAKE_DIRECTORY ${see})
  set(visible ${ARG_HEADERS})
  foreach(folder IN LISTS ARG_SEES)
    list(APPEND visible ${TANDEM_HEADERS_${folder}})
  endforeach()
  foreach(header IN LISTS visible)
    file(CREATE_LINK ${root}/include/tandem/${header}.h ${see}/${header}.h SYMBOLIC)
  endforeach()
  set(TANDEM_HEADERS_${name} ${ARG_HEADERS} CACHE INTERNAL "")

  file(GLOB sources CONFIGURE_DEPENDS ${root}/${ARG_PATH}/*.c)
  add_library(tandem_${name}_objects OBJECT ${sources})
  target_include_directories(tandem_${name}_objects PRIVATE ${PROJECT_BINARY_DIR}/see/${name} ${root}/${ARG_PATH}
                                                            ${ARG_INCLUDES})
  target_link_libraries(tandem_${name}_objects PUBLIC ${ARG_LIBS})
  if(EXISTS ${root}/${ARG_PATH}/folder.cmake)
    include(${root}/${ARG_PATH}/folder.cmake) # extra objects, per-file flags
  endif()

  add_library(tandem_${name} STATIC $<TARGET_OBJECTS:tandem_${name}_objects>)
  target_include_directories(tandem_${name} PUBLIC ${root}/include ${ARG_INCLUDES})
  target_link_libraries(tandem_${name} PUBLIC ${ARG_LIBS})
  foreach(folder IN LISTS ARG_SEES)
    target_link_libraries(tandem_${name} PUBLIC tandem_${folder})
  endforeach()
  set(TANDEM_FOLDERS ${TANDEM_FOLDERS} ${name} CACHE INTERNAL "")
endfunction()

# libtandem: everything under src/ and data_prep/ in one library, with headers and a pkg-config file.
#
# All objects become one, in which every global name that does not begin with tdm_ is made local: names that folders
# share among themselves (`declare`, `zip_open`) cannot clash with those of a program that links the library. A static
# library and a shared one (BUILD_SHARED_LIBS) are made of the same object.
function(tandem_library)
  set(objects "")
  set(libs "")
  foreach(folder IN LISTS TANDEM_FOLDERS)
    list(APPEND objects $<TARGET_OBJECTS:tandem_${folder}_objects>)
    get_target_property(folder_libs tandem_${folder}_objects INTERFACE_LINK_LIBRARIES)
    list(APPEND libs ${folder_libs})
  endforeach()
  list(REMOVE_DUPLICATES libs)
  set(object ${PROJECT_BINARY_DIR}/tandem.o)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o ${object} ${objects}
    COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=tdm_* ${object}
    DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM
    COMMENT "Linking tandem.o, which shows tdm_ only")

  add_library(libtandem ${object})
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set_target_properties(libtandem PROPERTIES OUTPUT_NAME tandem LINKER_LANGUAGE C VERSION ${PROJECT_VERSION} SOVERSION 0)
  foreach(folder IN LISTS TANDEM_FOLDERS)
    add_dependencies(libtandem tandem_${folder}_objects)
  endforeach()
  target_include_directories(libtandem PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  target_link_libraries(libtandem PUBLIC ${libs})
  install(TARGETS libtandem LIBRARY ARCHIVE)
  install(DIRECTORY include/tandem DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(DIRECTORY conf/ DESTINATION ${CMAKE_INSTALL_DATADIR}/tandem/conf)
  tandem_pkg_config("${libs}")
endfunction()

# What a linker needs of LIBS, as flags: imported targets and what they need in turn, libraries by path as
# -Ldirectory -lname, so that the file names the directories that were found here (Debian keeps HDF5 in one that no
# linker searches by itself).
function(tandem_link_flags out)
  set(flags "")
  foreach(lib IN LISTS ARGN)
    string(REGEX REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1" lib "${lib}")
    if(TARGET ${lib})
      set(needs "")
      foreach(property IMPORTED_LOCATION IMPORTED_LOCATION_RELEASE IMPORTED_LOCATION_NOCONFIG INTERFACE_LINK_LIBRARIES)
        get_target_property(value ${lib} ${property})
        if(value AND NOT (property MATCHES "LOCATION_" AND needs))
          list(APPEND needs ${value})
        endif()
      endforeach()
      tandem_link_flags(value ${needs})
      list(APPEND flags ${value})
    elseif(IS_ABSOLUTE "${lib}")
      get_filename_component(dir "${lib}" DIRECTORY)
      get_filename_component(name "${lib}" NAME)
      string(REGEX REPLACE "^lib(.*)\\.(so|a|dylib)[.0-9]*$" "\\1" name "${name}")
      if(NOT dir IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
        list(APPEND flags "-L${dir}")
      endif()
      list(APPEND flags "-l${name}")
    elseif("${lib}" MATCHES "^-")
      list(APPEND flags "${lib}")
    elseif(NOT "${lib}" MATCHES "[$<>]" AND NOT "${lib}" STREQUAL "")
      list(APPEND flags "-l${lib}")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES flags)
  set(${out} "${flags}" PARENT_SCOPE)
endfunction()

# tandem.pc finds itself: its prefix is told from its own place. All libraries that libtandem links stand in Libs where
# that is an archive, which brings none along, and in Libs.private where it is shared. They are named one by one and not
# as Requires: under --static pkg-config would ask for what libarchive's and others' archives need, though these are
# linked as shared libraries.
function(tandem_pkg_config libs)
  set(place ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(TANDEM_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
    set(TANDEM_PC_LIBDIR ${CMAKE_INSTALL_LIBDIR})
  else()
    file(RELATIVE_PATH up /prefix/${place} /prefix)
    string(REGEX REPLACE "/$" "" up "${up}")
    set(TANDEM_PC_PREFIX "\${pcfiledir}/${up}")
    set(TANDEM_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  endif()
  tandem_link_flags(flags ${libs})
  string(REPLACE ";" " " flags "${flags}")
  set(TANDEM_PC_LIBS "")
  set(TANDEM_PC_LIBS_PRIVATE "")
  if(BUILD_SHARED_LIBS)
    set(TANDEM_PC_LIBS_PRIVATE "${flags}")
  else()
    set(TANDEM_PC_LIBS " ${flags}")
  endif()
  list(TRANSFORM HDF5_C_INCLUDE_DIRS PREPEND "-I" OUTPUT_VARIABLE includes) # tandem/h5.h
  string(REPLACE ";" " " TANDEM_PC_INCLUDES "${includes}")
  configure_file(cmake/tandem.pc.in tandem.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/tandem.pc DESTINATION ${place})
endfunction()
