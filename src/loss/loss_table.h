/* Every objective. A new one is a file with a `const tdm_loss` and a row here. The first is the one that is on where
 * a configuration switches on none. */
#define TDM_LOSS_TABLE(ROW)                                                                                  \
    ROW(tdm_loss_infonce)                                                                                    \
    ROW(tdm_loss_siglip)                                                                                     \
    ROW(tdm_loss_ritc)                                                                                       \
    ROW(tdm_loss_citc)                                                                                       \
    ROW(tdm_loss_simclr)                                                                                     \
    ROW(tdm_loss_identity)                                                                                   \
    ROW(tdm_loss_mlm)
