# The files of assets/ become a part of the program.
set(serve_assets ${root}/src/serve/assets/style.css ${root}/src/serve/assets/page.js ${root}/src/serve/assets/icon.svg ${root}/src/serve/assets/schema.json)
set(serve_assets_c ${PROJECT_BINARY_DIR}/serve_assets.c)
add_custom_command(
  OUTPUT ${serve_assets_c}
  COMMAND ${CMAKE_COMMAND} -D OUT=${serve_assets_c} -D HEADER=assets.h -D PREFIX=serve_
          -P ${root}/cmake/Embed.cmake ${serve_assets}
  DEPENDS ${serve_assets} ${root}/cmake/Embed.cmake VERBATIM
  COMMENT "Embedding the page's files")
target_sources(tandem_serve_objects PRIVATE ${serve_assets_c})
