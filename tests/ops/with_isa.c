/* with_isa ISA PROGRAM ARGUMENT…: runs the program with TANDEM_ISA = ISA; where this CPU has no such instruction set it
 * would be the narrower one's run once more, so it ends with 77, which CTest counts as skipped. */
#include "tandem/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    enum { SKIPPED = 77 };
    tdm_cpu cpu;
    if (argc < 3) return 2;
    setenv("TANDEM_ISA", argv[1], 1);
    if (tdm_cpu_detect(&cpu) != TDM_OK) {
        fprintf(stderr, "%s\n", tdm_error_last()->message);
        return 1;
    }
    if (!cpu.names_bf16 && strcmp(tdm_isa_name(cpu.isa), argv[1]) != 0) {
        printf("skipped: this CPU has no %s\n", argv[1]);
        return SKIPPED;
    }
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 1;
}
