/* Every metric, in the order of the JSON. A new one is a file with a `const tdm_metric` and a row here: in the first table
 * when it is always reported, in the second when only those see it who ask for it by name. */
#ifndef TANDEM_METRIC_TABLE_H
#define TANDEM_METRIC_TABLE_H

#include "tandem/metric.h"

#define TDM_METRIC_TABLE(ROW)                                                                                \
    ROW(metric_recall_at_1)                                                                                  \
    ROW(metric_recall_at_5)                                                                                  \
    ROW(metric_recall_at_10)                                                                                 \
    ROW(metric_median_rank)                                                                                  \
    ROW(metric_mean_rank)                                                                                    \
    ROW(metric_map)                                                                                          \
    ROW(metric_map_at_r)                                                                                     \
    ROW(metric_minp)                                                                                         \
    ROW(metric_mrr)                                                                                          \
    ROW(metric_ndcg_at_10)                                                                                   \
    ROW(metric_map_at_50_hits)                                                                               \
    ROW(metric_map_at_50_min)                                                                                \
    ROW(metric_map_at_50_r)                                                                                  \
    ROW(metric_precision_at_1)                                                                               \
    ROW(metric_precision_at_2)                                                                               \
    ROW(metric_precision_at_4)                                                                               \
    ROW(metric_precision_at_8)                                                                               \
    ROW(metric_precision_at_16)

/* Stands for the cutoff in the texts of a row that takes any. */
#define METRIC_K "{K}"

#define TDM_METRIC_FAMILY_TABLE(ROW)                                                                         \
    ROW(family_recall)                                                                                       \
    ROW(family_recall_all)                                                                                   \
    ROW(family_precision)                                                                                    \
    ROW(family_r_precision)                                                                                  \
    ROW(family_map_hits)                                                                                     \
    ROW(family_map_min)                                                                                      \
    ROW(family_map_r)                                                                                        \
    ROW(family_mrr)                                                                                          \
    ROW(family_ndcg)

#define DECLARE_METRIC(metric) extern const tdm_metric metric;
TDM_METRIC_TABLE(DECLARE_METRIC)
TDM_METRIC_FAMILY_TABLE(DECLARE_METRIC)

#endif
