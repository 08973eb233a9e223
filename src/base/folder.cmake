# Where `cmake --install` puts conf/, from the binary and absolute: model definitions are looked for there last.
file(RELATIVE_PATH conf_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_DATADIR}/tandem/conf)
target_compile_definitions(tandem_base_objects PRIVATE TANDEM_CONF_DIR="${CMAKE_INSTALL_FULL_DATADIR}/tandem/conf"
                                                       TANDEM_CONF_FROM_BIN="${conf_from_bin}")
