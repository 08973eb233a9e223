/* Pictures of the gallery. */
#include "serve_impl.h"

#include "tandem/image.h"

#include <errno.h>
#include <time.h>

static bool is_there(const serve_server *server, int64_t row)
{
    const tdm_searcher *s = server->searcher;
    if (s->folder != NULL) return row < server->images;
    return s->dataset != NULL && row < tdm_dataset_images(s->dataset) &&
           tdm_dataset_has_image(s->dataset, row);
}

bool serve_picture_read(serve_server *server, int64_t row, tdm_text *out, serve_fault *fault)
{
    const tdm_searcher *s = server->searcher;
    if (!is_there(server, row))
        return serve_refuse(fault, 404, "not_found", "there is no picture %lld", (long long)row);
    if (s->dataset != NULL) pthread_mutex_lock(&server->source);
    const tdm_status status = tdm_searcher_read_image(s, row, out);
    if (s->dataset != NULL) pthread_mutex_unlock(&server->source);
    if (status == TDM_E_DATA)
        return serve_refuse(fault, 404, "not_found", "row %lld has no picture", (long long)row);
    if (status == TDM_OK) return true;
    tdm_log(TDM_LOG_WARN, "%s", tdm_error_last()->message);
    return serve_refuse(fault, 500, "unreadable", "picture %lld cannot be read: the log says why",
                        (long long)row);
}

bool serve_decode_begin(serve_server *server, serve_fault *fault)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* sem_timedwait knows no other clock */
    until.tv_sec += (time_t)server->options->request_s + 1;
    while (sem_timedwait(&server->decoders, &until) != 0)
        if (errno != EINTR)
            return serve_refuse(fault, 503, "busy", "too many pictures are being decoded: try again soon");
    return true;
}

void serve_decode_end(serve_server *server)
{
    sem_post(&server->decoders);
}

const char *serve_picture_type(const tdm_text *picture)
{
    static const char *const types[][2] = {{"JPEG", "image/jpeg"},
                                           {"PNG", "image/png"},
                                           {"WebP", "image/webp"},
                                           {"GIF", "image/gif"},
                                           {"BMP", "image/bmp"}};
    const tdm_image_type *type = tdm_image_type_of(picture->data, picture->length);
    for (size_t i = 0; type != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(type->name, types[i][0]) == 0) return types[i][1];
    return NULL;
}
