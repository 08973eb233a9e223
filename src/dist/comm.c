/* Life of a communicator, agreement on failures, and the collectives on plain values. */
#include "comm_impl.h"

#include "tandem/base.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void name_host(tdm_comm *comm)
{
    if (gethostname(comm->host, sizeof comm->host - 1) != 0) strcpy(comm->host, "?");
}

/* Of all ranks. Collective. */
static tdm_status name_hosts(tdm_comm *comm)
{
    TDM_TRY(tdm_comm_agree(comm, TDM_ALLOC(comm->size, &comm->hosts)));
    memcpy(comm->hosts[comm->rank], comm->host, sizeof comm->host);
    if (comm->size > 1)
        MPI_Allgather(comm->host, (int)sizeof comm->host, MPI_BYTE, comm->hosts, (int)sizeof comm->host,
                      MPI_BYTE, comm->mpi);
    return TDM_OK;
}

tdm_status tdm_comm_create_alone(tdm_comm **comm)
{
    TDM_TRY(TDM_ALLOC(1, comm));
    (*comm)->mpi = (*comm)->node = MPI_COMM_NULL;
    (*comm)->max_count = COMM_MAX_COUNT;
    (*comm)->size = 1;
    name_host(*comm);
    tdm_status status = name_hosts(*comm);
    if (status == TDM_OK) status = comm_find_nodes(*comm, NULL);
    if (status != TDM_OK) tdm_comm_destroy(comm);
    return status;
}

/* MPI_Init_thread. A process that no launcher started sends to nobody: Open MPI then needs neither a daemon beside it nor
 * plug-ins for networks, which take most of the time of its start. Nor a directory for its session: all such processes
 * would have the same, and one that ends removes it under another that starts. What the environment says counts. */
static int init(int *argc, char ***argv, int *provided)
{
    static const char *const light[][2] = {
        {"OMPI_MCA_ess_singleton_isolated", "1"},
        {"OMPI_MCA_pml", "ob1"},
        {"OMPI_MCA_btl", "self"},
        {"OMPI_MCA_osc", "^ucx"},
        {"OMPI_MCA_orte_create_session_dirs", "0"},
        {"OMPI_MCA_pmix", NULL}}; /* set by Open MPI itself when it is isolated */
    enum { LIGHT = sizeof light / sizeof light[0] };
    bool set[LIGHT];
    const bool lone = !strcmp(tdm_comm_launcher(), "none");
    for (int i = 0; i < LIGHT; i++) {
        set[i] = lone && getenv(light[i][0]) == NULL;
        if (set[i] && light[i][1] != NULL) setenv(light[i][0], light[i][1], 0);
    }
    const int code = MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, provided);
    for (int i = 0; i < LIGHT; i++)
        if (set[i]) unsetenv(light[i][0]); /* they are no settings of the user, nor those of a child */
    return code;
}

tdm_status tdm_comm_create(int *argc, char ***argv, tdm_comm **comm)
{
    *comm = NULL;
    int up = 0;
    MPI_Initialized(&up);
    if (!up) {
        int provided = MPI_THREAD_SINGLE;
        const int code = init(argc, argv, &provided);
        TDM_REQUIRE(code == MPI_SUCCESS, TDM_E_LIBRARY, "MPI_Init_thread failed with code %d", code);
        /* Only one thread per rank calls MPI, so FUNNELED suffices; SINGLE would forbid loader threads. */
        TDM_REQUIRE(provided >= MPI_THREAD_FUNNELED, TDM_E_LIBRARY,
                    "this MPI library supports no threads (MPI_THREAD_SINGLE)");
    }
    tdm_comm *made = NULL;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->initialized_here = !up;
    made->max_count = COMM_MAX_COUNT;
    made->node = MPI_COMM_NULL;
    if (MPI_Comm_dup(MPI_COMM_WORLD, &made->mpi) != MPI_SUCCESS) {
        tdm_free(made);
        TDM_FAIL(TDM_E_LIBRARY, "MPI_Comm_dup failed");
    }
    MPI_Comm_rank(made->mpi, &made->rank);
    MPI_Comm_size(made->mpi, &made->size);
    name_host(made);
    tdm_log_set_rank(made->rank, made->size);
    *comm = made;
    tdm_status status = comm_check_launch(made->size);
    if (status == TDM_OK) status = name_hosts(made);
    if (status == TDM_OK) status = comm_find_nodes(made, getenv("TANDEM_NODE_RANKS"));
    if (status != TDM_OK) tdm_comm_destroy(comm);
    return status;
}

void tdm_comm_destroy(tdm_comm **comm)
{
    if (comm == NULL || *comm == NULL) return;
    const bool finalize = (*comm)->initialized_here;
    comm_forget_nodes(*comm);
    if ((*comm)->mpi != MPI_COMM_NULL) MPI_Comm_free(&(*comm)->mpi);
    tdm_free((*comm)->hosts);
    tdm_free(*comm);
    *comm = NULL;
    if (finalize) MPI_Finalize();
}

int tdm_comm_rank(const tdm_comm *comm)
{
    return comm->rank;
}

int tdm_comm_size(const tdm_comm *comm)
{
    return comm->size;
}

const char *tdm_comm_host(const tdm_comm *comm, int rank)
{
    return comm->hosts[rank];
}

int tdm_comm_nodes(const tdm_comm *comm)
{
    return comm->nodes;
}

void comm_set_max_count(tdm_comm *comm, int64_t max_count)
{
    comm->max_count = max_count;
}

/* ---- Failures ---- */

/* This thread's record for a failure of `code`, completed with where it happened. A record that another rank
 * has made (agreed on deeper down) keeps its rank. */
static tdm_error local_record(const tdm_comm *comm, tdm_status code)
{
    tdm_error record = *tdm_error_last();
    if (record.code != code || record.message[0] == '\0') {
        memset(&record, 0, sizeof record);
        record.code = code;
        record.rank = -1;
        snprintf(record.message, sizeof record.message, "failed (%s)", tdm_status_name(code));
    }
    if (record.rank < 0) {
        record.rank = comm->rank;
        memcpy(record.host, comm->host, sizeof record.host);
    }
    return record;
}

tdm_status tdm_comm_agree(tdm_comm *comm, tdm_status local)
{
    if (comm->size == 1) {
        if (local == TDM_OK) return TDM_OK;
        const tdm_error record = local_record(comm, local);
        return tdm_error_adopt(&record);
    }
    /* MAXLOC takes the lowest index among equal values: the lowest failing rank. */
    struct {
        int failed, rank;
    } worst = {local != TDM_OK, comm->rank};
    tdm_pulse_wait("agreement");
    MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_2INT, MPI_MAXLOC, comm->mpi);
    tdm_pulse_met();
    if (!worst.failed) return TDM_OK;

    tdm_error record;
    memset(&record, 0, sizeof record);
    if (comm->rank == worst.rank) record = local_record(comm, local);
    tdm_pulse_wait("news of an error");
    MPI_Bcast(&record, (int)sizeof record, MPI_BYTE, worst.rank, comm->mpi);
    tdm_pulse_met();
    return tdm_error_adopt(&record);
}

static void print_record(const tdm_comm *comm, const tdm_error *record)
{
    char where[128] = "", source[96] = "";
    if (comm->size > 1 && record->rank >= 0) {
        snprintf(where, sizeof where, "rank %d/%d on %s: ", record->rank, comm->size, record->host);
    }
    if (record->file[0] != '\0') {
        snprintf(source, sizeof source, " (%s:%d)", record->file, record->line);
    }
    tdm_log_always("tandem: %s%s%s", where, record->message, source);
}

void tdm_comm_report(const tdm_comm *comm)
{
    if (comm->rank == 0) print_record(comm, tdm_error_last());
}

_Noreturn void tdm_comm_abort(tdm_comm *comm)
{
    const tdm_status code = tdm_error_last()->code;
    const tdm_error record = local_record(comm, code == TDM_OK ? TDM_E_LIBRARY : code);
    print_record(comm, &record);
    const int exit_code = record.code == TDM_E_USAGE ? 2 : 1;
    if (comm->size > 1) {
        /* The launcher carries the line to the terminal meanwhile: Open MPI 5 may drop what was written just
         * before an abort. */
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        MPI_Abort(comm->mpi, exit_code);
    }
    _Exit(exit_code);
}

/* ---- Values ---- */

void tdm_comm_barrier(tdm_comm *comm)
{
    if (comm->size == 1) return;
    tdm_pulse_wait("barrier");
    MPI_Barrier(comm->mpi);
    tdm_pulse_met();
}

/* In-place Allreduce of any number of elements. */
static void reduce_all(tdm_comm *comm, void *value, int64_t count, size_t element_bytes, MPI_Datatype type,
                       MPI_Op op)
{
    if (comm->size == 1) return;
    unsigned char *at = value;
    tdm_pulse_wait(op == MPI_MAX ? "maximum of values" : "sum of values");
    while (count > 0) {
        const int64_t n = tdm_min_i64(count, comm->max_count);
        tdm_pulse_beat();
        MPI_Allreduce(MPI_IN_PLACE, at, (int)n, type, op, comm->mpi);
        at += (size_t)n * element_bytes;
        count -= n;
    }
    tdm_pulse_met();
}

void tdm_comm_sum_f64(tdm_comm *comm, double *value, int64_t count)
{
    reduce_all(comm, value, count, sizeof *value, MPI_DOUBLE, MPI_SUM);
}

void tdm_comm_sum_i64(tdm_comm *comm, int64_t *value, int64_t count)
{
    reduce_all(comm, value, count, sizeof *value, MPI_INT64_T, MPI_SUM);
}

void tdm_comm_max_f64(tdm_comm *comm, double *value, int64_t count)
{
    reduce_all(comm, value, count, sizeof *value, MPI_DOUBLE, MPI_MAX);
}

void tdm_comm_sum_f32(tdm_comm *comm, float *value, int64_t count)
{
    reduce_all(comm, value, count, sizeof *value, MPI_FLOAT, MPI_SUM);
}

void tdm_comm_broadcast(tdm_comm *comm, void *data, int64_t bytes, int root)
{
    if (comm->size == 1) return;
    unsigned char *at = data;
    tdm_pulse_wait("broadcast");
    while (bytes > 0) {
        const int64_t n = tdm_min_i64(bytes, comm->max_count);
        tdm_pulse_beat();
        MPI_Bcast(at, (int)n, MPI_BYTE, root, comm->mpi);
        at += n;
        bytes -= n;
    }
    tdm_pulse_met();
}

/* Sleeps for a tenth of the time that it has waited: what comes is seen late by a tenth at most, and who waits for long
 * costs next to nothing. */
static void wait_patiently(MPI_Request *request)
{
    const double least_s = 20e-6, most_s = 5e-3, begin_s = tdm_now_s();
    for (int done = 0;;) {
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done) return;
        const double tenth_s = (tdm_now_s() - begin_s) / 10;
        const double nap_s = tenth_s < least_s ? least_s : tenth_s > most_s ? most_s : tenth_s;
        nanosleep(&(struct timespec){.tv_nsec = (long)(nap_s * 1e9)}, NULL);
    }
}

tdm_status tdm_comm_broadcast_patiently(tdm_comm *comm, void *data, int64_t bytes, int root)
{
    if (comm->size == 1) return TDM_OK;
    MPI_Request request;
    TDM_REQUIRE(bytes <= comm->max_count, TDM_E_SHAPE, "%lld bytes are broadcast patiently",
                (long long)bytes);
    tdm_pulse_wait("broadcast");
    MPI_Ibcast(data, (int)bytes, MPI_BYTE, root, comm->mpi, &request);
    wait_patiently(&request);
    tdm_pulse_met();
    return TDM_OK;
}

bool tdm_comm_any(tdm_comm *comm, bool value)
{
    double most = value;
    tdm_comm_max_f64(comm, &most, 1);
    return most > 0.0;
}

bool tdm_comm_all_equal_u64(tdm_comm *comm, uint64_t value)
{
    if (comm->size == 1) return true;
    uint64_t least[2] = {value, ~value}; /* the minimum of ~value is ~maximum */
    tdm_pulse_wait("comparison of values");
    MPI_Allreduce(MPI_IN_PLACE, least, 2, MPI_UINT64_T, MPI_MIN, comm->mpi);
    tdm_pulse_met();
    return least[0] == ~least[1];
}

void tdm_comm_gather_i64(tdm_comm *comm, int64_t value, int64_t *all)
{
    if (comm->size == 1) {
        all[0] = value;
        return;
    }
    tdm_pulse_wait("gathering of values");
    MPI_Allgather(&value, 1, MPI_INT64_T, all, 1, MPI_INT64_T, comm->mpi);
    tdm_pulse_met();
}
