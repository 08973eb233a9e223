/* make_people --identities N --seed S --out DIR: a synthetic data set of text-based person search. */
#include "people.h"

#include <getopt.h>
#include <stdlib.h>

static const char usage[] =
    "Usage: make_people --out DIR [--identities N] [--held-out N] [--seed S] [--twins P]\n"
    "                   [--threads T]\n"
    "Draws people as cameras see them and describes them, in the layout of CUHK-PEDES:\n"
    "DIR/imgs/ and DIR/reid_raw.json, for `tandem pack --format cuhk_pedes DIR`.\n"
    "  --out DIR        folder to write to\n"
    "  --identities N   people, of which 11,003 of 13,003 are to train (default 2000)\n"
    "  --held-out N     identities of val, and as many of test (default: 1,000 of 13,003 each)\n"
    "  --seed S         another seed draws other people (default 1)\n"
    "  --twins P        share of people who differ from another one in one thing, 0 to 1 (default 0.2)\n"
    "  --threads T      threads; the bytes do not depend on them (default: the cores)\n";

enum { WRONG_USAGE = 2 };

static int refuse(const char *option, const char *text, const char *range)
{
    fprintf(stderr, "make_people: --%s: \"%s\" is no number %s\n", option, text, range);
    return WRONG_USAGE;
}

static bool read_int(const char *text, int64_t low, int64_t high, int64_t *value)
{
    char *end;
    const long long number = strtoll(text, &end, 10);
    *value = number;
    return end != text && *end == '\0' && number >= low && number <= high;
}

static bool read_share(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && *value >= 0.0 && *value <= 1.0;
}

/* 0, or the exit code. */
static int read_options(int argc, char **argv, people_options *o)
{
    static const struct option known[] = {{"identities", required_argument, NULL, 'n'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"twins", required_argument, NULL, 'w'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"held-out", required_argument, NULL, 'h'},
                                          {"out", required_argument, NULL, 'o'},
                                          {0}};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (c) {
        case 'n':
            if (!read_int(optarg, PEOPLE_LEAST_IDENTITIES, PEOPLE_MOST_IDENTITIES, &o->identities))
                return refuse("identities", optarg, "from 3 to 1000000");
            break;
        case 'h':
            if (!read_int(optarg, 1, PEOPLE_MOST_IDENTITIES, &o->held_out))
                return refuse("held-out", optarg, "from 1 to 1000000");
            break;
        case 's':
            if (!read_int(optarg, 0, INT64_C(1) << 53, &o->seed))
                return refuse("seed", optarg, "from 0 to 2^53");
            break;
        case 'w':
            if (!read_share(optarg, &o->twins)) return refuse("twins", optarg, "from 0 to 1");
            break;
        case 't':
            if (!read_int(optarg, 1, 1024, &o->threads)) return refuse("threads", optarg, "from 1 to 1024");
            break;
        case 'o': o->out = optarg; break;
        default: fputs(usage, stderr); return WRONG_USAGE;
        }
    if (optind == argc && o->out) return 0;
    fputs(usage, stderr);
    return WRONG_USAGE;
}

int main(int argc, char **argv)
{
    people_options o = {
        .identities = 2000, .seed = 1, .twins = PEOPLE_TWINS, .threads = tdm_default_threads()};
    if (argc == 2 && !strcmp(argv[1], "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    const int wrong = read_options(argc, argv, &o);
    if (wrong) return wrong;
    if (people_make(&o) == TDM_OK) return 0;
    tdm_log_always("make_people: %s", tdm_error_last()->message);
    return 1;
}
