/* make_shapes DIR: the data set of shapes.h, for the tests of the commands. */
#include "shapes.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc == 2 && make_shapes(argv[1]) == TDM_OK) return 0;
    fprintf(stderr, "make_shapes: %s\n", argc == 2 ? tdm_error_last()->message : "usage: make_shapes DIR");
    return 1;
}
