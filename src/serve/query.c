/* What is looked for: its life, and how it is written into an address. */
#include "serve_impl.h"

#include <stdarg.h>
#include <stdlib.h>

bool serve_refuse(serve_fault *fault, int status, const char *code, const char *fmt, ...)
{
    char message[sizeof fault->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    tdm_trim_cut(message);
    *fault = (serve_fault){.status = status, .code = code};
    tdm_show_text(fault->message, sizeof fault->message, message); /* it may quote what was sent */
    return false;
}

bool serve_refuse_memory(serve_fault *fault)
{
    return serve_refuse(fault, 503, "out_of_memory", "the server has no memory for this request");
}

void serve_query_free(serve_query *query)
{
    tdm_text_free(&query->text);
    tdm_text_free(&query->image);
    for (int64_t i = 0; i < query->labels; i++) free(query->label[i]);
    query->labels = 0;
}

bool serve_query_is_empty(const serve_query *query)
{
    return query->text.length == 0 && query->image.length == 0 && !serve_query_has_picture(query);
}

bool serve_query_has_picture(const serve_query *query)
{
    return query->row >= 0 || query->upload[0] != '\0';
}

/* "&name=value", of the value only letters, digits and -._~ as they are. */
static tdm_status append_field(tdm_text *out, const char *name, const char *value)
{
    TDM_TRY(tdm_text_printf(out, "%s%s=", out->length > 0 ? "&" : "", name));
    for (const char *c = value; *c != '\0'; c++) {
        const unsigned char byte = (unsigned char)*c;
        const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                           (byte >= 'A' && byte <= 'Z') || strchr("-._~", byte) != NULL;
        TDM_TRY(tdm_text_printf(out, plain ? "%c" : "%%%02X", byte));
    }
    return TDM_OK;
}

static tdm_status append_number(tdm_text *out, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return append_field(out, name, text);
}

static tdm_status append_subject(const serve_query *q, tdm_text *out)
{
    if (q->text.length > 0) TDM_TRY(append_field(out, "q", q->text.data));
    if (q->upload[0] != '\0') TDM_TRY(append_field(out, "upload", q->upload));
    if (q->row >= 0) TDM_TRY(append_number(out, "row", q->row));
    if (q->text.length == 0 || !serve_query_has_picture(q) || q->weight == SERVE_DEFAULT_WEIGHT)
        return TDM_OK;
    char weight[32];
    snprintf(weight, sizeof weight, "%.6g", q->weight);
    return append_field(out, "weight", weight);
}

tdm_status serve_query_print(const serve_query *query, int64_t offset, tdm_text *out)
{
    tdm_text own = {0};
    tdm_status status = append_subject(query, &own);
    if (status == TDM_OK && query->find == TDM_TEXT) status = append_field(&own, "find", "captions");
    for (int64_t i = 0; i < query->labels && status == TDM_OK; i++)
        status = append_field(&own, "class", query->label[i]);
    if (status == TDM_OK && query->unique) status = append_field(&own, "unique", "1");
    if (status == TDM_OK && query->k != SERVE_DEFAULT_K) status = append_number(&own, "k", query->k);
    if (status == TDM_OK && offset > 0) status = append_number(&own, "offset", offset);
    if (status == TDM_OK) status = tdm_text_append(out, own.data != NULL ? own.data : "", own.length);
    tdm_text_free(&own);
    return status;
}
