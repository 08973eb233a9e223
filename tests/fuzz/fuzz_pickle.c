/* Any pickle in a good archive with two storages. */
#include "fuzz_tensors.h"

#include "../tensors/zip_case.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    tdm_text file = {0};
    zip_make_torch(&file, data, bytes);
    (void)fuzz_read_tensors(file.data, file.length);
    tdm_text_free(&file);
    return 0;
}
