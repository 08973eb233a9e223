/* Every head. A new one is a file with a `const head_type` and a row here. */
#define HEAD_TABLE(ROW)                                                                                      \
    ROW(head_adapter)                                                                                        \
    ROW(head_mlp)
