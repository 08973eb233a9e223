/* Command-line options: parsing, checking and --help, all from the rows. */
#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 28, HELP_WIDTH = 100 };

/* "-k,--top": does `word` (of `length`) spell one of the row's names? */
static bool row_has_name(const tdm_flag *flag, const char *word, size_t length)
{
    for (const char *name = flag->name; *name;) {
        const size_t n = strcspn(name, ",");
        if (n == length && !memcmp(name, word, n)) return true;
        name += n + (name[n] == ',');
    }
    return false;
}

static const tdm_flag *find_flag(const tdm_flag *flags, size_t count, const char *word, size_t length)
{
    for (size_t i = 0; i < count; i++) {
        if (row_has_name(&flags[i], word, length)) return &flags[i];
    }
    return NULL;
}

/* The row's last spelling, which is the long one: what messages call it. */
static const char *shown_name(const tdm_flag *flag)
{
    const char *comma = strrchr(flag->name, ',');
    return comma ? comma + 1 : flag->name;
}

/* What other programs call these, too far from our names for spelling alone. The first that the command has is meant. */
static const char *synonym(const tdm_flag *flags, size_t count, const char *typed)
{
    static const struct {
        const char *typed, *meant;
    } rows[] = {{"--checkpoint", "--from"},
                {"--ckpt", "--from"},
                {"--weights", "--from"},
                {"--checkpoint", "--model"},
                {"--ckpt", "--model"},
                {"--weights", "--model"},
                {"--input", "--from"},
                {"--run", "--model"},
                {"--run-dir", "--out"},
                {"--output", "--out"},
                {"--output-dir", "--out"},
                {"--out-dir", "--out"},
                {"--dest", "--out"},
                {"--output", "--to"},
                {"--out", "--to"},
                {"--dataset", "--data"},
                {"--data-dir", "--data"},
                {"--gallery", "--data"},
                {"--index", "--gallery"},
                {"--subset", "--split"},
                {"--batch-size", "--batch"},
                {"--num-workers", "--workers"},
                {"--dtype", "--precision"},
                {"--top-k", "--top"},
                {"--topk", "--top"},
                {"--conf", "--config"},
                {"--cfg", "--config"},
                {"--resume-from", "--resume"},
                {"--query", "--image"},
                {"--overwrite", "--force"},
                {"--image-px", "--image-size"},
                {"--size", "--image-size"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcmp(typed, rows[i].typed) && find_flag(flags, count, rows[i].meant, strlen(rows[i].meant)))
            return rows[i].meant;
    return NULL;
}

static tdm_status unknown_flag(const char *command, const tdm_flag *flags, size_t count, const char *word)
{
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)strcspn(word, "="), word);
    const char *near = NULL;
    const char **names = NULL;
    TDM_TRY(TDM_ALLOC(count + 1, &names));
    for (size_t i = 0; i < count; i++) names[i] = shown_name(&flags[i]);
    names[count] = "--help";
    near = synonym(flags, count, typed);
    if (near == NULL) near = tdm_nearest_name(typed, names, count + 1);
    tdm_free((void *)names);
    TDM_REQUIRE(near == NULL, TDM_E_USAGE, "%s: unknown option %s; did you mean %s?", command, typed, near);
    TDM_FAIL(TDM_E_USAGE, "%s: unknown option %s; `tandem %s --help` lists the options", command, typed,
             command);
}

static bool has_range(const tdm_flag *flag)
{
    return flag->min != 0 || flag->max != 0;
}

static tdm_status check_range(const char *command, const tdm_flag *flag, double value, const char *text)
{
    const bool inside = !has_range(flag) || (value >= flag->min && value <= flag->max);
    TDM_REQUIRE(inside, TDM_E_USAGE, "%s: %s %s: must be from %.15g to %.15g%s%s", command, shown_name(flag),
                text, flag->min, flag->max, flag->unit && *flag->unit ? " " : "",
                flag->unit ? flag->unit : "");
    return TDM_OK;
}

/* "auto|f32|bf16" lists all that is allowed; "auto|PATH" does not, nor "FILE". */
static bool lists_choices(const char *argument)
{
    return argument && strchr(argument, '|') &&
           !argument[strspn(argument, "abcdefghijklmnopqrstuvwxyz0123456789_|")];
}

static tdm_status check_choice(const char *command, const tdm_flag *flag, const char *text)
{
    enum { MOST = 64 };
    const char *choice[MOST];
    size_t count = 0;
    char list[1024];
    snprintf(list, sizeof list, "%s", flag->argument);
    for (char *rest = list, *at; count < MOST && (at = strsep(&rest, "|")) != NULL;) {
        if (!strcmp(at, text)) return TDM_OK;
        choice[count++] = at;
    }
    const char *near = tdm_nearest_name(text, choice, count);
    TDM_FAIL(TDM_E_USAGE, "%s: %s %.80s: must be one of %s%s%s%s", command, shown_name(flag), text,
             flag->argument, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static tdm_status append_string(tdm_strings *strings, const char *item)
{
    const char **grown =
        realloc((void *)strings->item, sizeof(*strings->item) * ((size_t)strings->count + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "cannot allocate the list of arguments");
    grown[strings->count++] = item;
    strings->item = grown;
    return TDM_OK;
}

static tdm_status set_value(const char *command, const tdm_flag *flag, const char *text)
{
    char *end = NULL;
    errno = 0;
    switch (flag->type) {
    case TDM_FLAG_SWITCH: *(bool *)flag->value = true; return TDM_OK;
    case TDM_FLAG_STRING:
        if (lists_choices(flag->argument)) TDM_TRY(check_choice(command, flag, text));
        *(const char **)flag->value = text;
        return TDM_OK;
    case TDM_FLAG_LIST: return append_string(flag->value, text);
    case TDM_FLAG_INT: {
        const long long value = strtoll(text, &end, 10);
        TDM_REQUIRE(end != text && !*end && !errno && !isspace((unsigned char)*text), TDM_E_USAGE,
                    "%s: %s %s: is not a whole number", command, shown_name(flag), text);
        TDM_TRY(check_range(command, flag, (double)value, text));
        *(int64_t *)flag->value = value;
        return TDM_OK;
    }
    case TDM_FLAG_FLOAT: {
        const double value = strtod(text, &end);
        TDM_REQUIRE(end != text && !*end && value - value == 0 && !isspace((unsigned char)*text), TDM_E_USAGE,
                    "%s: %s %s: is not a number", command, shown_name(flag), text);
        TDM_TRY(check_range(command, flag, value, text));
        *(double *)flag->value = value;
        return TDM_OK;
    }
    }
    return TDM_OK;
}

/* ---- --help ---- */

/* How many columns the first `bytes` of UTF-8 text take. */
static int columns(const char *text, size_t bytes)
{
    int n = 0;
    for (size_t i = 0; i < bytes; i++) n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

/* `text` from HELP_COLUMN on, broken at blanks. */
static void print_wrapped(const char *text)
{
    int used = 0;
    while (*text) {
        const size_t word = strcspn(text, " ");
        const int width = columns(text, word);
        if (used && HELP_COLUMN + used + 1 + width > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            used = 0;
        }
        printf("%s%.*s", used ? " " : "", (int)word, text);
        used += width + (used > 0);
        text += word;
        while (*text == ' ') text++;
    }
    putchar('\n');
}

static void print_row(const char *left, const char *help, const char *note)
{
    char text[1024];
    snprintf(text, sizeof text, "%s%s", help, note);
    const int width = columns(left, strlen(left));
    printf("  %s%*s", left, width > HELP_COLUMN - 4 ? 0 : HELP_COLUMN - 2 - width, "");
    if (width > HELP_COLUMN - 4) printf("\n%*s", HELP_COLUMN, "");
    print_wrapped(text);
}

/* " [unit] (required, from 1 to 8, default 4)", as far as the row says. */
static void describe(const tdm_flag *flag, char *note, size_t bytes)
{
    const bool number = flag->type == TDM_FLAG_INT || flag->type == TDM_FLAG_FLOAT;
    const char *between = " (";
    int used = 0;
    note[0] = '\0';
    if (flag->unit && *flag->unit) used += snprintf(note, bytes, " [%s]", flag->unit);
    if (!flag->default_text) {
        used += snprintf(note + used, bytes - (size_t)used, "%srequired", between);
        between = ", ";
    }
    if (number && has_range(flag)) {
        used += snprintf(note + used, bytes - (size_t)used, "%sfrom %.15g to %.15g", between, flag->min,
                         flag->max);
        between = ", ";
    }
    if (flag->default_text && *flag->default_text && flag->type != TDM_FLAG_SWITCH) {
        used += snprintf(note + used, bytes - (size_t)used, "%sdefault %.80s", between, flag->default_text);
        between = ", ";
    }
    if (between[0] == ',') snprintf(note + used, bytes - (size_t)used, ")");
}

static void print_flag(const tdm_flag *flag, int indent)
{
    char left[128], note[256];
    size_t used = (size_t)snprintf(left, sizeof left, "%*s", indent, "");
    for (const char *c = flag->name; *c && used + 3 < sizeof left; c++) {
        left[used++] = *c;
        if (*c == ',') left[used++] = ' ';
    }
    left[used] = '\0';
    if (flag->type != TDM_FLAG_SWITCH)
        snprintf(left + used, sizeof left - used, " %s", flag->argument ? flag->argument : "VALUE");
    describe(flag, note, sizeof note);
    print_row(left, flag->help, note);
}

void tdm_print_flags(const char *title, const char *help, const tdm_flag *flags, size_t count)
{
    print_row(title, help, "");
    for (size_t i = 0; i < count; i++) print_flag(&flags[i], 2);
}

void tdm_print_call(const char *name, const char *help, const tdm_option *option, size_t count)
{
    printf("  %-24s  %s\n", name, help);
    for (size_t o = 0; o < count; o++)
        printf("    %-22s  %s (%s)\n", option[o].key, option[o].help, option[o].default_text);
}

static void print_help(const char *command, const char *synopsis, const tdm_flag *flags, size_t count)
{
    printf("usage: tandem %s %s\n\n", command, synopsis);
    const char *heading = NULL;
    for (size_t i = 0; i < count; i++) {
        if (flags[i].heading != NULL && heading == NULL) print_row("-h, --help", "print this", "");
        if (flags[i].heading != NULL && flags[i].heading != heading) printf("\n%s\n", flags[i].heading);
        heading = flags[i].heading;
        print_flag(&flags[i], 0);
    }
    if (heading == NULL) print_row("-h, --help", "print this", "");
    puts(
        "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 stopped on request, to be gone on with, 4 ended by\n"
        "train.stall_end, to be started again.");
}

/* ---- parsing ---- */

/* argv[*at] starts with '-': one flag, with the value after '=' or in the next argument. */
static tdm_status parse_flag(const char *command, const tdm_flag *flags, size_t count, bool *seen, int argc,
                             char **argv, int *at)
{
    const char *word = argv[*at];
    const size_t length = strcspn(word, "=");
    const tdm_flag *flag = find_flag(flags, count, word, length);
    if (flag == NULL) return unknown_flag(command, flags, count, word);
    seen[flag - flags] = true;

    const char *value = word[length] == '=' ? word + length + 1 : NULL;
    if (flag->type == TDM_FLAG_SWITCH) {
        TDM_REQUIRE(value == NULL, TDM_E_USAGE, "%s: %s takes no value", command, shown_name(flag));
    } else if (value == NULL) {
        const char *next = *at + 1 < argc ? argv[*at + 1] : NULL;
        const bool flag_follows = next && next[0] == '-' && find_flag(flags, count, next, strcspn(next, "="));
        TDM_REQUIRE(next && !flag_follows, TDM_E_USAGE, "%s: %s needs a value (%s)", command,
                    shown_name(flag), flag->argument ? flag->argument : "VALUE");
        value = next;
        ++*at;
    }
    return set_value(command, flag, value);
}

static tdm_status parse_all(const char *command, const tdm_flag *flags, size_t count, bool *seen, int argc,
                            char **argv, tdm_strings *positional)
{
    bool flags_end = false;
    for (int i = 1; i < argc; i++) {
        if (!flags_end && !strcmp(argv[i], "--"))
            flags_end = true;
        else if (flags_end || argv[i][0] != '-' || argv[i][1] == '\0')
            TDM_TRY(append_string(positional, argv[i]));
        else
            TDM_TRY(parse_flag(command, flags, count, seen, argc, argv, &i));
    }
    for (size_t i = 0; i < count; i++) {
        TDM_REQUIRE(seen[i] || flags[i].default_text, TDM_E_USAGE,
                    "%s: %s %s is missing; see `tandem %s --help`", command, shown_name(&flags[i]),
                    flags[i].argument ? flags[i].argument : "VALUE", command);
    }
    return TDM_OK;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    }
    return false;
}

tdm_status tdm_parse_flags(const char *command, const char *synopsis, const tdm_flag *flags, size_t count,
                           int argc, char **argv, tdm_strings *positional, bool *help)
{
    memset(positional, 0, sizeof *positional);
    *help = wants_help(argc, argv);
    if (*help) {
        if (tdm_log_rank() == 0) print_help(command, synopsis, flags, count);
        return TDM_OK;
    }
    bool *seen = NULL;
    TDM_TRY(TDM_ALLOC(count, &seen));
    const tdm_status status = parse_all(command, flags, count, seen, argc, argv, positional);
    for (size_t i = 0; i < count; i++)
        if (flags[i].given != NULL) *flags[i].given = seen[i];
    tdm_free(seen);
    if (status != TDM_OK) {
        free((void *)positional->item);
        memset(positional, 0, sizeof *positional);
    }
    return status;
}

tdm_status tdm_parse_options(const char *command, const char *synopsis, const tdm_flag *flags, size_t count,
                             int argc, char **argv, bool *help)
{
    tdm_strings positional;
    TDM_TRY(tdm_parse_flags(command, synopsis, flags, count, argc, argv, &positional, help));
    const int64_t extra = positional.count;
    free((void *)positional.item);
    TDM_REQUIRE(extra == 0, TDM_E_USAGE, "tandem %s: takes options only", command);
    return TDM_OK;
}
