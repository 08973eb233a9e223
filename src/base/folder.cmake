# Where `cmake --install` puts conf/: model definitions are looked for there last.
target_compile_definitions(tandem_base_objects PRIVATE TANDEM_CONF_DIR="${CMAKE_INSTALL_FULL_DATADIR}/tandem/conf")
