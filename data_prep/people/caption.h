/* Captions of a person: what is mentioned, and in which words. */
#ifndef PEOPLE_CAPTION_H
#define PEOPLE_CAPTION_H

#include "person.h"

/* What one describer notices, a bit per trait: mostly the clothes, sometimes the rest. */
uint32_t caption_mentions(const person *p, tdm_rng *rng);
/* One to three sentences that say exactly this. Another stream says the same in other words and another order.
 * Every colour stands before what has it, nothing in between. Appended. */
TDM_CHECKED tdm_status caption_write(const person *p, uint32_t mentions, tdm_rng *rng, tdm_text *out);
/* All words for a value of a trait, up to NULL; none for what is not said (average build, no hat). */
const char *const *caption_words(person_trait trait, int value);

#endif
