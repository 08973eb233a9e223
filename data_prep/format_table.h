/* Every raw data set format. A new one is a file with a `const tdm_pack_format` and a row here. */
#define TDM_PACK_FORMAT_TABLE(ROW)                                                                           \
    ROW(pack_format_folder)                                                                                  \
    ROW(pack_format_csv)                                                                                     \
    ROW(pack_format_karpathy)                                                                                \
    ROW(pack_format_webdataset)                                                                              \
    ROW(pack_format_cuhk_pedes)                                                                              \
    ROW(pack_format_icfg_pedes)                                                                              \
    ROW(pack_format_rstp_reid)                                                                               \
    ROW(pack_format_tbps_json)                                                                               \
    ROW(pack_format_wikipedia)                                                                               \
    ROW(pack_format_pascal_sentence)                                                                         \
    ROW(pack_format_nus_wide)                                                                                \
    ROW(pack_format_xmedianet)                                                                               \
    ROW(pack_format_cmr_split)                                                                               \
    ROW(pack_format_emoji)                                                                                   \
    ROW(pack_format_features)
