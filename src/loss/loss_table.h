/* Every objective. A new one is a file with a `const tdm_loss` and a row here. The first is the one that is on where
 * a configuration switches on none. */
#define TDM_LOSS_TABLE(ROW)                                                                                  \
    ROW(tdm_loss_infonce)                                                                                    \
    ROW(tdm_loss_siglip)                                                                                     \
    ROW(tdm_loss_ritc)                                                                                       \
    ROW(tdm_loss_citc)                                                                                       \
    ROW(tdm_loss_simclr)                                                                                     \
    ROW(tdm_loss_identity)                                                                                   \
    ROW(tdm_loss_mlm)                                                                                        \
    ROW(tdm_loss_contrastive)                                                                                \
    ROW(tdm_loss_modality_invariant)                                                                         \
    ROW(tdm_loss_triplet)                                                                                    \
    ROW(tdm_loss_linear_regression)                                                                          \
    ROW(tdm_loss_cross_entropy)                                                                              \
    ROW(tdm_loss_prototype)                                                                                  \
    ROW(tdm_loss_proxy_nca)                                                                                  \
    ROW(tdm_loss_proxy_anchor)                                                                               \
    ROW(tdm_loss_lifted)                                                                                     \
    ROW(tdm_loss_npairs)                                                                                     \
    ROW(tdm_loss_supcon)                                                                                     \
    ROW(tdm_loss_dual_softmax)
