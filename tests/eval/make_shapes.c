/* make_shapes DIR [mixed]: a data set of shapes.h, for the tests of the commands. */
#include "shapes.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const bool mixed = argc == 3 && strcmp(argv[2], "mixed") == 0;
    if (argc != 2 && !mixed) {
        fprintf(stderr, "usage: make_shapes DIR [mixed]\n");
        return 2;
    }
    if ((mixed ? make_mixed_shapes(argv[1]) : make_shapes(argv[1])) == TDM_OK) return 0;
    fprintf(stderr, "make_shapes: %s\n", tdm_error_last()->message);
    return 1;
}
