/* Embeddings of any origin: their files. */
#include "external.h"

const char *const external_side_option[SIDES] = {"--query", "--gallery"};
static const char *const ids_option[SIDES] = {"--query-ids", "--gallery-ids"};
static const char *const labels_option[SIDES] = {"--query-labels", "--gallery-labels"};

tdm_status external_check_options(const external *x)
{
    const embeddings_options *o = x->options;
    const eval_request *r = x->request;
    for (int s = 0; s < SIDES; s++) {
        TDM_REQUIRE(o->side[s][0] != '\0', TDM_E_USAGE, "tandem eval: %s FILE is missing",
                    external_side_option[s]);
        TDM_REQUIRE(o->qrels[0] == '\0' || o->labels[s][0] == '\0', TDM_E_USAGE,
                    "tandem eval: both --qrels and %s say what belongs together", labels_option[s]);
    }
    TDM_REQUIRE(o->qrels[0] == '\0' || !(o->macro || o->per_class || o->folds > 0), TDM_E_USAGE,
                "tandem eval: %s goes by labels, --qrels has none",
                o->folds > 0   ? "--folds"
                : o->per_class ? "--per-class"
                               : "--macro");
    TDM_REQUIRE((o->cameras[QUERY][0] != '\0') == (o->cameras[GALLERY][0] != '\0'), TDM_E_USAGE,
                "tandem eval: --query-cameras and --gallery-cameras go together");
    TDM_REQUIRE(o->qrels[0] == '\0' || (o->cameras[QUERY][0] == '\0' && o->junk_label[0] == '\0'),
                TDM_E_USAGE, "tandem eval: %s goes by labels, --qrels has none",
                o->junk_label[0] != '\0' ? "--junk-label" : "--query-cameras");
    TDM_REQUIRE(
        !o->exclude_self || o->rerank[0] == '\0', TDM_E_USAGE,
        "tandem eval: --rerank takes queries and gallery as different rows, --exclude-self as the same");
    TDM_REQUIRE((o->fuse[QUERY][0] == '\0') == (o->fuse[GALLERY][0] == '\0'), TDM_E_USAGE,
                "tandem eval: --fuse-query and --fuse-gallery belong together");
    TDM_REQUIRE(
        o->fuse[QUERY][0] == '\0' || o->junk_label[0] == '\0', TDM_E_USAGE,
        "tandem eval: --fuse-query does not go with --junk-label, which takes rows out of one gallery");
    const char *const of_models = r->inference.model[0] != '\0' ? "--model"
                                  : r->data[0] != '\0'          ? "--data"
                                  : r->html[0] != '\0'          ? "--html"
                                                                : NULL;
    TDM_REQUIRE(
        of_models == NULL, TDM_E_USAGE,
        "tandem eval: %s belongs to the tasks that embed with a model, --query to embeddings from files",
        of_models);
    return TDM_OK;
}

/* Collective. */
static tdm_status read_names(const external *x, const row_file *file, int s, row_names *names)
{
    return tdm_comm_agree(x->comm,
                          row_names_read(file, external_side_option[s], x->side[s].matrix.rows, names));
}

tdm_status external_read_names(const external *x, const char *option, const char *given, int s,
                               row_names *names)
{
    row_file file;
    TDM_TRY(row_file_find(x->comm, option, given, &file));
    return read_names(x, &file, s, names);
}

/* Ranking holds them a second time, packed. */
int64_t external_most_bytes(const external *x, int s)
{
    const embeddings_options *o = x->options;
    /* Rows are taken out of it, and for other orders they are queries, too. */
    const bool in_memory = s == QUERY || o->folds > 0 || o->junk_label[0] != '\0' || o->rerank[0] != '\0' ||
                           o->fuse[QUERY][0] != '\0';
    return in_memory ? INT64_MAX : (o->memory_mib << 20) / 2;
}

/* Ids: the file's, or the numbers of the rows. Collective. */
static tdm_status read_side(external *x, int s)
{
    const embeddings_options *o = x->options;
    ranked *side = &x->side[s];
    TDM_TRY(row_file_find(x->comm, external_side_option[s], o->side[s], &side->file));
    TDM_TRY(
        row_matrix_read(x->comm, &side->file, x->request->split, external_most_bytes(x, s), &side->matrix));
    if (o->ids[s][0] != '\0') {
        TDM_TRY(external_read_names(x, ids_option[s], o->ids[s], s, &side->ids));
        TDM_AGREE(x->comm, row_names_check_ids(ids_option[s], &side->ids));
    } else {
        TDM_AGREE(x->comm, row_names_number(side->matrix.rows, NULL, &side->ids));
    }
    return TDM_OK;
}

tdm_status external_read_clusters(external *x)
{
    const embeddings_options *o = x->options;
    const row_matrix *query = &x->side[QUERY].matrix;
    x->each.cluster_by = o->clusters[0] != '\0' ? "cluster" : query->image != NULL ? "image" : "query";
    if (o->clusters[0] != '\0')
        return external_read_names(x, "--query-clusters", o->clusters, QUERY, &x->cluster);
    return tdm_comm_agree(x->comm,
                          query->image ? row_names_number(query->rows, query->image, &x->cluster) : TDM_OK);
}

const row_names *external_labels(const ranked *side)
{
    return side->labels.count > 0 ? &side->labels : &side->ids;
}

/* file[s] where there are labels. Does one have several of a row? Then both sides are read so. Collective. */
static tdm_status find_labels(const external *x, row_file *file, bool *several)
{
    const embeddings_options *o = x->options;
    *several = false;
    for (int s = 0; s < SIDES; s++) {
        bool are = false;
        if (o->labels[s][0] == '\0') continue;
        TDM_TRY(row_file_find(x->comm, labels_option[s], o->labels[s], &file[s]));
        TDM_AGREE(x->comm, row_sets_are_in(&file[s], o->label_separator, &are));
        *several |= are;
    }
    return TDM_OK;
}

/* Collective. */
static tdm_status read_sets(external *x, const row_file *file, int s)
{
    return tdm_comm_agree(x->comm, row_sets_read(file, x->options->label_separator, external_side_option[s],
                                                 x->side[s].matrix.rows, &x->sets[s]));
}

/* The file's; of Tandem's own embeddings the image; or the ids, and then the list stays empty. Collective. */
static tdm_status read_labels(external *x)
{
    const embeddings_options *o = x->options;
    row_file file[SIDES];
    bool several;
    TDM_TRY(find_labels(x, file, &several));
    for (int s = 0; s < SIDES; s++) {
        ranked *side = &x->side[s];
        const bool by_image = side->matrix.image != NULL && o->ids[s][0] == '\0' && o->qrels[0] == '\0';
        if (o->labels[s][0] != '\0')
            TDM_TRY(several ? read_sets(x, &file[s], s) : read_names(x, &file[s], s, &side->labels));
        else if (by_image)
            TDM_AGREE(x->comm, row_names_number(side->matrix.rows, side->matrix.image, &side->labels));
        if (several && x->sets[s].rows == 0)
            TDM_AGREE(x->comm, row_sets_of_names(external_labels(side), &x->sets[s]));
    }
    const int64_t columns[SIDES] = {x->sets[QUERY].columns, x->sets[GALLERY].columns};
    TDM_REQUIRE(columns[QUERY] == 0 || columns[GALLERY] == 0 || columns[QUERY] == columns[GALLERY],
                TDM_E_SHAPE, "--query-labels %s has %lld columns, --gallery-labels %s has %lld",
                o->labels[QUERY], (long long)columns[QUERY], o->labels[GALLERY], (long long)columns[GALLERY]);
    if (several) TDM_AGREE(x->comm, row_sets_names(x->sets, SIDES, &x->label));
    return TDM_OK;
}

bool external_has_several(const external *x)
{
    return x->sets[GALLERY].rows > 0;
}

/* A label's key is the first row of the gallery that has it, -1 when none has. */
static tdm_status find_keys(external *x)
{
    const row_names *gallery = external_labels(&x->side[GALLERY]);
    for (int s = 0; s < SIDES; s++) {
        ranked *side = &x->side[s];
        if (external_has_several(x)) {
            TDM_TRY(row_sets_bits(&x->sets[s], &x->label, side->matrix.first, side->matrix.n, &side->bits,
                                  &side->words));
            continue;
        }
        TDM_TRY(
            row_names_match(external_labels(side), side->matrix.first, side->matrix.n, gallery, &side->key));
    }
    return TDM_OK;
}

static tdm_status read_qrels(external *x)
{
    const char *path = x->options->qrels;
    tdm_reading reading = {0};
    if (path[0] == '\0') return tdm_comm_agree(x->comm, find_keys(x));
    TDM_TRY(tdm_comm_agree_on(x->comm, tdm_reading_add_file(&reading, "--qrels", path), &reading));
    return tdm_comm_agree(x->comm, qrels_read(path, &x->side[QUERY].ids, &x->side[GALLERY].ids, &x->qrels));
}

static tdm_status check_widths(const external *x)
{
    const row_matrix *q = &x->side[QUERY].matrix, *g = &x->side[GALLERY].matrix;
    TDM_REQUIRE(q->width == g->width, TDM_E_SHAPE, "--query %s has rows of %lld, --gallery %s of %lld",
                x->options->side[QUERY], (long long)q->width, x->options->side[GALLERY], (long long)g->width);
    return TDM_OK;
}

tdm_status external_read(external *x)
{
    for (int s = 0; s < SIDES; s++) TDM_TRY(read_side(x, s));
    TDM_AGREE(x->comm, check_widths(x));
    TDM_TRY(read_labels(x));
    TDM_TRY(external_read_junk(x));
    return read_qrels(x);
}
