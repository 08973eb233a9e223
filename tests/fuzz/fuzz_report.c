/* metrics.jsonl, config.cfg and eval.json with any content: the report is written, whole, and fetches
 * nothing. The input is cut at the first two bytes 0xff. */
#include "fuzz.h"
#include "../scratch.h"

#include "tandem/report.h"

#include <string.h>

static char dir[64];

static void write_piece(const char *name, const uint8_t **data, size_t *left)
{
    char path[128];
    const uint8_t *end = memchr(*data, 0xff, *left);
    const size_t bytes = end == NULL ? *left : (size_t)(end - *data);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FUZZ_REQUIRE(tdm_write_file_atomic(path, *data, bytes) == TDM_OK);
    *data += end == NULL ? bytes : bytes + 1;
    *left -= end == NULL ? bytes : bytes + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char path[128];
    tdm_text page = {0};
    static const uint8_t none[1] = {0};
    if (bytes == 0) data = none;
    if (dir[0] == '\0') {
        FUZZ_REQUIRE(scratch_dir(dir, sizeof dir) == 0);
        tdm_log_set_rank(1, 2); /* warnings come from rank 0 only */
    }
    write_piece("metrics.jsonl", &data, &bytes);
    write_piece("config.cfg", &data, &bytes);
    write_piece("eval.json", &data, &bytes);
    FUZZ_REQUIRE(tdm_report_write(dir) == TDM_OK);
    snprintf(path, sizeof path, "%s/report.html", dir);
    FUZZ_REQUIRE(tdm_read_file(path, &page) == TDM_OK);
    FUZZ_REQUIRE(page.length > 8 && strcmp(page.data + page.length - 8, "</html>\n") == 0);
    FUZZ_REQUIRE(strstr(page.data, "<script") == NULL);
    tdm_text_free(&page);
    return 0;
}
