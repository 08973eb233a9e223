/* Private to data_prep: captions as people put them into JSON. */
#ifndef TANDEM_JSON_CAPTIONS_H
#define TANDEM_JSON_CAPTIONS_H

#include "pack_impl.h"
#include "read_json.h"

/* The member that holds an object's captions: "captions", "sentences", "caption" or "text", in this order; value
 * is NULL where there is none. */
json_node json_captions_member(const json_node *object);
/* Gives the item the captions of a value: a string, an object with "raw" (or "caption", "text"), or an array of
 * these. One that is wrong is a bad caption, a value that is none of this a bad sample; NULL and [] are none. */
TDM_CHECKED tdm_status json_captions(const json_node *value, tdm_pack_item *item);

#endif
