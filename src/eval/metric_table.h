/* Every metric, in the order of the JSON. A new one is a file with a `const tdm_metric` and a row here. */
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

#define DECLARE_METRIC(metric) extern const tdm_metric metric;
TDM_METRIC_TABLE(DECLARE_METRIC)

#endif
