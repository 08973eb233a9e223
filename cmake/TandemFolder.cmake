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
function(tandem_library)
  add_library(libtandem)
  set_target_properties(libtandem PROPERTIES OUTPUT_NAME tandem VERSION ${PROJECT_VERSION} SOVERSION 0)
  target_include_directories(libtandem PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  foreach(folder IN LISTS TANDEM_FOLDERS)
    target_sources(libtandem PRIVATE $<TARGET_OBJECTS:tandem_${folder}_objects>)
    target_link_libraries(libtandem PUBLIC $<TARGET_PROPERTY:tandem_${folder}_objects,INTERFACE_LINK_LIBRARIES>)
  endforeach()
  install(TARGETS libtandem LIBRARY ARCHIVE)
  install(DIRECTORY include/tandem DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(DIRECTORY conf/ DESTINATION ${CMAKE_INSTALL_DATADIR}/tandem/conf)
  configure_file(cmake/tandem.pc.in tandem.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/tandem.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
