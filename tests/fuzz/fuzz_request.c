/* Any request of tandem serve: its first line (method, blank, target), the Content-Type, then the body. What is accepted
 * can be written into a link, which is accepted, too, and is written the same. */
#include "fuzz.h"

#include "../../src/serve/serve_impl.h"

#include <string.h>

/* The next line, as a string of its own; NULs end it. */
static char *next_line(const uint8_t **data, size_t *bytes)
{
    const uint8_t *stop = memchr(*data, '\n', *bytes);
    const size_t length = stop != NULL ? (size_t)(stop - *data) : *bytes, used = length + (stop != NULL);
    char *line = malloc(length + 1);
    FUZZ_REQUIRE(line != NULL);
    memcpy(line, *data, length);
    line[length] = '\0';
    *data += used;
    *bytes -= used;
    return line;
}

static void check_fault(const serve_fault *fault)
{
    const char *end = fault->message + strlen(fault->message);
    FUZZ_REQUIRE(fault->status >= 400 && fault->status < 600);
    FUZZ_REQUIRE(fault->code != NULL && fault->message[0] != '\0');
    for (const char *at = fault->message; at < end;) FUZZ_REQUIRE(tdm_utf8_next(at, end, &at) >= 0x20);
}

static void check_link(const serve_request *request)
{
    tdm_text first = {0}, second = {0}, target = {0};
    serve_request again = {0};
    serve_fault fault = {0};
    FUZZ_REQUIRE(serve_query_print(&request->query, request->query.offset, &first) == TDM_OK);
    FUZZ_REQUIRE(tdm_text_printf(&target, "/?%s", first.data) == TDM_OK);
    FUZZ_REQUIRE(serve_request_begin("GET", target.data, &again, &fault));
    FUZZ_REQUIRE(serve_request_finish(&again, NULL, "", 0, &fault));
    FUZZ_REQUIRE(serve_query_print(&again.query, again.query.offset, &second) == TDM_OK);
    FUZZ_REQUIRE(strcmp(first.data, second.data) == 0);
    serve_request_free(&again);
    tdm_text_free(&first);
    tdm_text_free(&second);
    tdm_text_free(&target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *line = next_line(&data, &bytes), *type = next_line(&data, &bytes);
    char *blank = strchr(line, ' ');
    serve_request request = {0};
    serve_fault fault = {0};
    if (blank != NULL) *blank = '\0';
    const bool fine = serve_request_begin(line, blank != NULL ? blank + 1 : "", &request, &fault) &&
                      serve_request_finish(&request, type[0] != '\0' ? type : NULL, data, bytes, &fault);
    if (!fine)
        check_fault(&fault);
    else if (request.route->takes_query)
        check_link(&request);
    serve_request_free(&request);
    free(line);
    free(type);
    return 0;
}
