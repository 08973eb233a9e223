/* One row per command, in the order of `tandem --help`. A command is one file that defines its row. */
#ifndef TANDEM_APP_COMMAND_TABLE_H
#define TANDEM_APP_COMMAND_TABLE_H

#define TDM_COMMAND_TABLE(ROW)                                                                               \
    ROW(tdm_command_pack)                                                                                    \
    ROW(tdm_command_train)                                                                                   \
    ROW(tdm_command_study)                                                                                   \
    ROW(tdm_command_eval)                                                                                    \
    ROW(tdm_command_embed)                                                                                   \
    ROW(tdm_command_probe)                                                                                   \
    ROW(tdm_command_search)                                                                                  \
    ROW(tdm_command_serve)                                                                                   \
    ROW(tdm_command_import)                                                                                  \
    ROW(tdm_command_export)                                                                                  \
    ROW(tdm_command_info)                                                                                    \
    ROW(tdm_command_bench)                                                                                   \
    ROW(tdm_command_augment)                                                                                 \
    ROW(tdm_command_tokenize)                                                                                \
    ROW(tdm_command_tokenizer)

#endif
