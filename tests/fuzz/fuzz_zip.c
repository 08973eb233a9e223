/* Any bytes as a PyTorch archive: its zip container above all. */
#include "fuzz_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    (void)fuzz_read_tensors(data, bytes);
    return 0;
}
