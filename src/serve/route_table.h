/* One row for each address. A route is one file that defines its row. */
#ifndef TANDEM_SERVE_ROUTE_TABLE_H
#define TANDEM_SERVE_ROUTE_TABLE_H

#define SERVE_ROUTE_TABLE(ROW)                                                                               \
    ROW(serve_route_page)                                                                                    \
    ROW(serve_route_search)                                                                                  \
    ROW(serve_route_gallery)                                                                                 \
    ROW(serve_route_image)                                                                                   \
    ROW(serve_route_thumbnail)                                                                               \
    ROW(serve_route_upload)                                                                                  \
    ROW(serve_route_health)                                                                                  \
    ROW(serve_route_metrics)                                                                                 \
    ROW(serve_route_schema)                                                                                  \
    ROW(serve_route_style)                                                                                   \
    ROW(serve_route_script)                                                                                  \
    ROW(serve_route_icon)

#endif
