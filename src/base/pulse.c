#include "tandem/pulse.h"

tdm_pulse tdm_pulse_here = {.phase = "start"};
