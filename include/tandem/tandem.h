/* Everything at once. */
#ifndef TANDEM_TANDEM_H
#define TANDEM_TANDEM_H

#include "tandem/base.h"
#include "tandem/checkpoint.h"
#include "tandem/comm.h"
#include "tandem/config.h"
#include "tandem/convert.h"
#include "tandem/cpu.h"
#include "tandem/eval.h"
#include "tandem/h5.h"
#include "tandem/image.h"
#include "tandem/inference.h"
#include "tandem/loader.h"
#include "tandem/loss.h"
#include "tandem/metric.h"
#include "tandem/model.h"
#include "tandem/ops.h"
#include "tandem/optim.h"
#include "tandem/option.h"
#include "tandem/pack.h"
#include "tandem/params.h"
#include "tandem/report.h"
#include "tandem/rng.h"
#include "tandem/searcher.h"
#include "tandem/shard.h"
#include "tandem/status.h"
#include "tandem/tensors.h"
#include "tandem/tokenizer.h"
#include "tandem/train.h"
#include "tandem/views.h"

#endif
