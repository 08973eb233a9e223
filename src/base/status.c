#include "tandem/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local tdm_error last_error = {.code = TDM_OK, .rank = -1};

tdm_status tdm_error_set(tdm_status code, const char *file, int line, const char *fmt, ...)
{
    tdm_error error = {.code = code, .line = line, .rank = -1};

    /* "…/src/data/shard.c" is shown as "data/shard.c" */
    const char *slash = strrchr(file, '/');
    const char *shown = file;
    if (slash) {
        shown = slash;
        while (shown > file && shown[-1] != '/') shown--;
    }
    snprintf(error.file, sizeof(error.file), "%s", shown);

    va_list args;
    va_start(args, fmt);
    if (vsnprintf(error.message, sizeof(error.message), fmt, args) >= (int)sizeof(error.message))
        tdm_trim_cut(error.message);
    va_end(args);
    last_error = error; /* last, since an argument may point into the old record */
    return code;
}

const tdm_error *tdm_error_last(void)
{
    return &last_error;
}

tdm_status tdm_error_adopt(const tdm_error *error)
{
    last_error = *error;
    return error->code;
}

const char *tdm_status_name(tdm_status code)
{
    switch (code) {
    case TDM_OK: return "ok";
    case TDM_E_USAGE: return "usage";
    case TDM_E_CONFIG: return "config";
    case TDM_E_IO: return "io";
    case TDM_E_FORMAT: return "format";
    case TDM_E_DATA: return "data";
    case TDM_E_SHAPE: return "shape";
    case TDM_E_NOMEM: return "memory";
    case TDM_E_LIBRARY: return "library";
    case TDM_E_NUMERIC: return "numeric";
    case TDM_E_STOPPED: return "stopped";
    case TDM_E_OTHER_RANK: return "other rank";
    }
    return "unknown";
}
