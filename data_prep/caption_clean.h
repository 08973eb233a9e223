/* Private to data_prep: what programs of studies do to captions before they tokenize them. */
#ifndef TANDEM_CAPTION_CLEAN_H
#define TANDEM_CAPTION_CLEAN_H

#include "tandem/base.h"
#include "tandem/option.h"

#define CAPTION_CLEAN_CHOICES "none|tbps|cmr"
typedef enum caption_cleaning { CAPTION_CLEAN_NONE, CAPTION_CLEAN_TBPS, CAPTION_CLEAN_CMR } caption_cleaning;

/* Rows of a format that offers it: `clean`, an int, and `max_words`, an int64_t, of its struct of options. */
#define CAPTION_CLEAN_OPTIONS(type) CAPTION_CLEAN_OPTIONS_OF(type, "77")
#define CAPTION_CLEAN_OPTIONS_OF(type, words)                                                                \
    TDM_CHOICE_OPTION(type, clean, "none", CAPTION_CLEAN_CHOICES,                                            \
                      "Captions as they are, or as TBPS-CLIP's pre_caption makes them (lower case, "         \
                      ".!\"()*#:;~ gone), or as CLIP4CMR's load_original_data does (no punctuation, no "     \
                      "digits); each with at most max_words."),                                              \
        TDM_INT_OPTION(type, max_words, words, 1, 1000000, "words", "of a caption that `clean` leaves")

/* The caption, cleaned, into `out` (cleared first). TBPS, in this order: str.lower(); each of . ! " ( ) * # : ; ~ becomes
 * a blank; each run of two or more white-space characters becomes a blank; newlines at the end go, then blanks at both
 * ends; the first max_words words between single blanks stay (misc/caption_dataset.py of Flame-Chasers/TBPS-CLIP). CMR:
 * the first max_words words between single blanks; ASCII's punctuation but the backslash is deleted, without a blank in its
 * place, then every decimal digit of Unicode (load_original_data of zhixiongz/CLIP4CMR). */
TDM_CHECKED tdm_status caption_clean(caption_cleaning how, int64_t max_words, const char *text, size_t length,
                                     tdm_text *out);

#endif
