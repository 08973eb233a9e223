/* Private to data_prep: what programs of studies do to captions before they tokenize them. */
#ifndef TANDEM_CAPTION_CLEAN_H
#define TANDEM_CAPTION_CLEAN_H

#include "tandem/base.h"
#include "tandem/option.h"

#define CAPTION_CLEAN_CHOICES "none|tbps"
typedef enum caption_cleaning { CAPTION_CLEAN_NONE, CAPTION_CLEAN_TBPS } caption_cleaning;

/* Rows of a format that offers it: `clean`, an int, and `max_words`, an int64_t, of its struct of options. */
#define CAPTION_CLEAN_OPTIONS(type)                                                                                          \
    TDM_CHOICE_OPTION(                                                                                                       \
        type, clean, "none", CAPTION_CLEAN_CHOICES,                                                                          \
        "Captions as they are, or as TBPS-CLIP's pre_caption makes them: lower case, .!\"()*#:;~ gone, at most max_words."), \
        TDM_INT_OPTION(type, max_words, "77", 1, 1000000, "words", "of a caption that `clean` leaves")

/* The caption, cleaned, into `out` (cleared first). TBPS, in this order: str.lower(); each of . ! " ( ) * # : ; ~ becomes
 * a blank; each run of two or more white-space characters becomes a blank; newlines at the end go, then blanks at both
 * ends; the first max_words words between single blanks stay (misc/caption_dataset.py of Flame-Chasers/TBPS-CLIP). */
TDM_CHECKED tdm_status caption_clean(caption_cleaning how, int64_t max_words, const char *text, size_t length,
                                     tdm_text *out);

#endif
