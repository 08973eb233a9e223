/* Any bytes as a file of tensors. The first byte of the input chooses: 'r': the rest is the file; else it is
 * a header, in front of which its length is put and behind it as many bytes as the first byte says. */
#include "fuzz_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char zeros[256] = {0};
    if (bytes == 0) return 0;
    if (data[0] == 'r') {
        (void)fuzz_read_tensors(data + 1, bytes - 1);
        return 0;
    }
    tdm_text file = {0};
    const uint64_t length = bytes - 1;
    FUZZ_REQUIRE(tdm_text_append(&file, &length, sizeof length) == TDM_OK);
    FUZZ_REQUIRE(tdm_text_append(&file, data + 1, bytes - 1) == TDM_OK);
    FUZZ_REQUIRE(tdm_text_append(&file, zeros, data[0]) == TDM_OK);
    (void)fuzz_read_tensors(file.data, file.length);
    tdm_text_free(&file);
    return 0;
}
