/* WordNet 3.0: which words mean the same. Not collective. What is open is read only, by any number of threads. */
#ifndef TANDEM_TEXT_WORDNET_H
#define TANDEM_TEXT_WORDNET_H

#include "text_list.h"

#include "tandem/reading.h"

typedef struct wordnet wordnet;
/* The files index.POS, data.POS and POS.exc of WordNet's directory, mapped: the ranks of a node share their memory.
 * `who` needs it: that begins the message. Errors: TDM_E_IO names the file that is missing, and the package that has it. */
TDM_CHECKED tdm_status wordnet_open(const char *who, const char *directory, wordnet **opened);
void wordnet_close(wordnet **opened);
/* Its files. */
TDM_CHECKED tdm_status wordnet_reading(const wordnet *from, tdm_reading *reading);
/* Of every meaning that WordNet knows of the word, or of what it is a form of ("men"), as any part of speech: all words
 * for it, in lower case, without what is no letter, '_' and '-' as blanks; not the word itself. In order, each once. One
 * may be of several words, or empty ("24"). Errors: TDM_E_FORMAT names the file that is not WordNet's. */
TDM_CHECKED tdm_status wordnet_synonyms(const wordnet *from, const char *word, size_t bytes,
                                        text_list *synonyms);

#endif
