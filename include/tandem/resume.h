/* Going on from a checkpoint: what of the run is another than the checkpoint's, and where the run stands.
 *
 *     tdm_resume r = {0};
 *     tdm_resume_open(&session, dir, eval_dataset, &r);    compares; the session has data and model, not yet a loader
 *     tdm_resume_check(&r, insist);                        refuses
 *     tdm_resume_place(&session, &r);                      reports; place in the data, steps, learning rate
 *     tdm_checkpoint_read_model, tdm_checkpoint_read_state, tdm_session_create_loader …
 *     tdm_resume_destroy(&r);
 *
 * Every key of the configuration has a class (tdm_change). Beside the keys these facts are compared: the digests of the
 * tokenizer, of the training split and of the evaluation's, the identities that own a row of a classifier, and the
 * precision that "auto" came to. What an earlier version did not write is taken to be the same, and that is said.
 *
 * The run is placed by samples. An epoch goes on behind the last sample of its order that was trained on, whatever the
 * batch is now; with a data set of another size at the same share of the epoch. Steps are never numbered anew: a step is
 * an update of the weights. With train.steps the run ends at that step. With train.epochs it ends where the epochs end,
 * so that the rest has fewer steps where the batch has grown; the schedule of the learning rate and the ramps of the
 * objectives then go on from where they stood, and faster (tdm_clock).
 *
 * None of these is collective: ranks agree on the status of each. */
#ifndef TANDEM_RESUME_H
#define TANDEM_RESUME_H

#include "tandem/session.h"

typedef struct tdm_resume {
    char dir[TDM_PATH_BYTES];
    tdm_config config;     /* the checkpoint's */
    tdm_train_state state; /* the checkpoint's; best_value is NaN where it is of another metric or data set */
    tdm_differences differences;
    double lr_was, lr_is; /* of the next step: by the checkpoint's configuration, and by the run's */
} tdm_resume;

/* eval: the data set that the run evaluates on, or NULL. `resume` is zeroed before. */
TDM_CHECKED tdm_status tdm_resume_open(tdm_session *session, const char *dir, const tdm_dataset *eval,
                                       tdm_resume *resume);
/* TDM_E_CONFIG names all keys that give the weights another meaning, old and new; insist: they are accepted. */
TDM_CHECKED tdm_status tdm_resume_check(const tdm_resume *resume, bool insist);
/* Sets the session's place, steps and clock, and logs what changes the run, a line each. TDM_E_CONFIG when the
 * configuration ends before the checkpoint: then nothing is logged.
 * session->first_step == session->total_steps afterwards: nothing is left to do. */
TDM_CHECKED tdm_status tdm_resume_place(tdm_session *session, tdm_resume *resume);
void tdm_resume_destroy(tdm_resume *resume);

#endif
