/* Subcommands: one file and one row of command_table.h each. */
#ifndef TANDEM_APP_COMMAND_H
#define TANDEM_APP_COMMAND_H

#include "tandem/tandem.h"

/* One command-line option; parsing, checking and --help come from the rows. */
typedef enum tdm_flag_type {
    TDM_FLAG_SWITCH,
    TDM_FLAG_INT,
    TDM_FLAG_FLOAT,
    TDM_FLAG_STRING,
    TDM_FLAG_LIST
} tdm_flag_type;
typedef struct tdm_flag {
    const char *name; /* "--json"; a second spelling may follow after a comma: "-k,--top" */
    tdm_flag_type type;
    void *value;              /* bool *, int64_t *, double *, const char **, tdm_strings * (repeatable) */
    const char *argument;     /* "FILE", "N" … NULL for a switch; "a|b" in lower case: one of these */
    const char *default_text; /* NULL = required, "" = none */
    const char *unit;
    const char *help;
    double min, max;     /* of numbers */
    const char *heading; /* --help prints it above the first of the rows that share it; NULL: none */
    bool *given;         /* set when the command line holds the flag, or NULL */
} tdm_flag;

/* Rows of a command's flags; fields as above. The compiler checks the type of `value`. */
#define FLAG_OF(type, name, value, of, argument, default_text, unit, min, max, help)                         \
    {                                                                                                        \
        name, type, 1 ? (value) : (of *)NULL, argument, default_text, unit, help, min, max, NULL, NULL       \
    }
#define FLAG_SWITCH(name, value, help) FLAG_OF(TDM_FLAG_SWITCH, name, value, bool, NULL, "", "", 0, 0, help)
#define FLAG_STRING(name, value, argument, default_text, help)                                               \
    FLAG_OF(TDM_FLAG_STRING, name, value, const char *, argument, default_text, "", 0, 0, help)
#define FLAG_LIST(name, value, argument, default_text, help)                                                 \
    FLAG_OF(TDM_FLAG_LIST, name, value, tdm_strings, argument, default_text, "", 0, 0, help)
#define FLAG_INT(name, value, argument, default_text, unit, min, max, help)                                  \
    FLAG_OF(TDM_FLAG_INT, name, value, int64_t, argument, default_text, unit, min, max, help)
#define FLAG_FLOAT(name, value, argument, default_text, unit, min, max, help)                                \
    FLAG_OF(TDM_FLAG_FLOAT, name, value, double, argument, default_text, unit, min, max, help)

/* Of every command that writes into a directory; see tandem/dir_lock.h. */
#define FLAG_STEAL_LOCK(value)                                                                               \
    FLAG_SWITCH("--steal-lock", value,                                                                       \
                "take over the directory from a process of another host that no longer runs")

typedef struct tdm_command {
    const char *name;
    const char *summary;  /* one line */
    bool mpi;             /* may run under mpirun with several ranks */
    const char *mpi_flag; /* or only with this flag; NULL: never */
    bool starts_alone; /* without a launcher it starts without MPI, which would take longer than the work */
    bool stops;        /* ends on request where it is safe */
    tdm_status (*run)(tdm_comm *comm, int argc, char **argv); /* argv[0] is the command's name */
} tdm_command;

/* Fills the flags' values (defaults included, already set by the caller) and the positional arguments.
 * positional->item points into argv; its array is owned by the caller (free). Errors: TDM_E_USAGE, naming the
 * nearest flag. --help prints usage to stdout and sets *help: the caller returns TDM_OK at once. */
TDM_CHECKED tdm_status tdm_parse_flags(const char *command, const char *synopsis, const tdm_flag *flags,
                                       size_t count, int argc, char **argv, tdm_strings *positional,
                                       bool *help);
/* The same of a command without positional arguments: one is an error. */
TDM_CHECKED tdm_status tdm_parse_options(const char *command, const char *synopsis, const tdm_flag *flags,
                                         size_t count, int argc, char **argv, bool *help);
/* A paragraph of --help: a title with its text, and flags that belong to it. */
void tdm_print_flags(const char *title, const char *help, const tdm_flag *flags, size_t count);
/* In --help, what is called as NAME(key=value, …): its name, and a line for each option. */
void tdm_print_call(const char *name, const char *help, const tdm_option *option, size_t count);

#endif
