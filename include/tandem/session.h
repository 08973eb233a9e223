/* A training run put together: configuration, tokenizer, data, model, objectives, optimiser, batches, trainer. The
 * ritual stands here once, for `tandem train`, `tandem bench`, studies and tests.
 *
 *     tdm_session s = {.comm = comm};
 *     tdm_session_configure(&s, "my.cfg", &set);     what the user says, over defaults and model.pretrained
 *     tdm_session_open_data(&s);
 *     tdm_session_create_model(&s);                  parameters are initialised; read a checkpoint over them here
 *                                                    (tdm_session_read_pretrained for model.pretrained),
 *                                                    and find its place (tandem/resume.h)
 *     tdm_session_create_loader(&s);
 *     tdm_session_load(&s);
 *     tdm_session_start(&s);                         tdm_trainer_step(s.trainer, …) from here on
 *     tdm_session_destroy(&s);                       also of a session that is not complete
 *
 * None of these is collective: ranks agree on the status of each (TDM_AGREE). Errors are those of the parts. Between
 * them the tdm_session_agree_… make sure that all ranks have read the same; these are collective. */
#ifndef TANDEM_SESSION_H
#define TANDEM_SESSION_H

#include "tandem/checkpoint.h"
#include "tandem/convert.h"
#include "tandem/train.h"

typedef struct tdm_session {
    tdm_comm *comm;   /* borrowed */
    int64_t max_rows; /* the most samples of one call of the model; 0: what a step needs */
    int64_t classes;  /* of batches that do not come from a data set */
    /* all below is owned */
    tdm_config config;
    char pretrained[TDM_PATH_BYTES]; /* checkpoint to start from, "" = none */
    tdm_tokenizer *tokenizer;
    tdm_dataset *dataset;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
    tdm_losses *losses;
    tdm_optim optim;
    tdm_loader *loader;
    tdm_trainer *trainer;
    char identity_digest[65]; /* of the identities that own rows of a classifier; "": none do */
    /* Where the run begins: zeros, or what tdm_resume_place sets. */
    tdm_place from;
    int64_t first_step, samples_before;
    tdm_clock clock;         /* rate 0: the step */
    int64_t steps_per_epoch; /* set with the loader */
    int64_t total_steps; /* by the configuration where it is 0; without a loader, set it before the start */
} tdm_session;

/* Registers the options of all tables (objectives, augmentations, towers, heads) with the configuration. Once, before
 * the first tdm_config_init. */
TDM_CHECKED tdm_status tdm_register_options(void);

/* Defaults, then those of model.pretrained, then the file, then "key=value" entries of `set` (may be NULL). Rules
 * between keys are checked. */
TDM_CHECKED tdm_status tdm_session_configure(tdm_session *session, const char *file, const tdm_strings *set);
/* Tokenizer and training split. */
TDM_CHECKED tdm_status tdm_session_open_data(tdm_session *session);
/* Another split, checked against the session's tokenizer. *dataset is the caller's. */
TDM_CHECKED tdm_status tdm_session_open_split(const tdm_session *session, const char *dir, const char *split,
                                              tdm_dataset **dataset);
/* Model and objectives with initial parameters, optimiser. Without data identities are 0 … train.batch - 1. */
TDM_CHECKED tdm_status tdm_session_create_model(tdm_session *session);
/* Parameters that session->pretrained holds, over the initial ones. A learned context that it lacks starts from the
 * words' embeddings that it has. */
TDM_CHECKED tdm_status tdm_session_read_pretrained(tdm_session *session);
/* Batches from session->from on, in place of those before. */
TDM_CHECKED tdm_status tdm_session_create_loader(tdm_session *session);
/* Where the run stands now, at session->optim.step: place, passes over the data, "f32" or "bf16". */
tdm_place tdm_session_place(const tdm_session *session);
double tdm_session_epoch(const tdm_session *session, int64_t step);
const char *tdm_session_precision(const tdm_session *session);
/* What a checkpoint of now says; the best value, the seconds and what concerns the evaluation are the caller's. */
TDM_CHECKED tdm_status tdm_session_state(const tdm_session *session, tdm_train_state *state);
/* Packs the parameters as they are now. */
TDM_CHECKED tdm_status tdm_session_load(tdm_session *session);
TDM_CHECKED tdm_status tdm_session_start(tdm_session *session);

/* ---- Collective: have all ranks read the same? TDM_E_DATA names the first difference (tdm_comm_agree_on). ---- */
/* Behind tdm_session_configure: configuration and pretrained model. file: what messages name. */
TDM_CHECKED tdm_status tdm_session_agree_config(const tdm_session *session, const char *file);
/* Behind tdm_session_open_data: tokenizer, data set, and `eval` (may be NULL). */
TDM_CHECKED tdm_status tdm_session_agree_data(const tdm_session *session, const tdm_dataset *eval);
/* Before a checkpoint is read: its files. */
TDM_CHECKED tdm_status tdm_session_agree_checkpoint(const tdm_session *session, const char *dir);
/* Behind tdm_session_create_loader: step, parameters, moments, and what the loader reads beside the data set.
 * from: the checkpoint that the run goes on from, or "". */
TDM_CHECKED tdm_status tdm_session_agree_start(const tdm_session *session, const char *from);

void tdm_session_destroy(tdm_session *session);

#endif
