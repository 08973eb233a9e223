/* Every update rule. A new one is a file with a `const tdm_optimizer` and a row here. */
#define OPTIMIZER_TABLE(ROW) ROW(optimizer_adamw)
