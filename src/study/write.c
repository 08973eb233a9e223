/* The table of a study as JSON, CSV and LaTeX. */
#include "study_impl.h"

#include "tandem/json_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *cell_json(const tdm_study_cell *cell)
{
    json_t *object = json_object(), *values = json_array();
    json_object_set_new(object, "mean", number(cell->mean));
    json_object_set_new(object, "std", number(cell->std));
    json_object_set_new(object, "n", json_integer(cell->n));
    for (int64_t i = 0; i < cell->n; i++) json_array_append_new(values, number(cell->value[i]));
    json_object_set_new(object, "values", values);
    json_object_set_new(object, "difference", number(cell->difference));
    json_object_set_new(object, "p", number(cell->p));
    return object;
}

static json_t *line_json(const tdm_study *study, const tdm_study_table *table, int64_t r)
{
    const tdm_study_line *line = &table->line[r];
    json_t *object = json_object(), *settings = json_array(), *metrics = json_object();
    json_object_set_new(object, "label", tdm_json_text(line->label));
    for (int64_t i = 0; i < study->row[r].set.count; i++)
        json_array_append_new(settings, tdm_json_text(study->row[r].set.item[i]));
    json_object_set_new(object, "settings", settings);
    json_object_set_new(object, "runs", json_integer(line->runs));
    json_object_set_new(object, "failed", json_integer(line->failed));
    json_object_set_new(object, "chosen_on_measured_split", json_boolean(line->biased));
    if (isfinite(line->x)) json_object_set_new(object, "x", json_real(line->x));
    for (int64_t k = 0; k < table->metrics; k++)
        json_object_set_new(metrics, table->metric[k], cell_json(&line->cell[k]));
    json_object_set_new(object, "metrics", metrics);
    return object;
}

tdm_status study_write_json(const tdm_study *study, const tdm_study_table *table, const char *path)
{
    json_t *root = json_object(), *rows = json_array();
    json_object_set_new(root, "study", tdm_json_text(study->name));
    json_object_set_new(root, "title", tdm_json_text(study->title));
    json_object_set_new(root, "base", tdm_json_text(table->line[table->base].label));
    for (int64_t r = 0; r < table->lines; r++) json_array_append_new(rows, line_json(study, table, r));
    json_object_set_new(root, "rows", rows);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    TDM_REQUIRE(text, TDM_E_NOMEM, "%s: no memory for its text", path);
    const tdm_status status = tdm_write_file_atomic(path, text, strlen(text));
    free(text);
    return status;
}

/* What `lines` makes of the table. */
static tdm_status write_lines(const tdm_study_table *table,
                              tdm_status (*lines)(const tdm_study_table *, tdm_text *), const char *path)
{
    tdm_text text = {0};
    tdm_status status = lines(table, &text);
    if (status == TDM_OK) status = tdm_write_file_atomic(path, text.data, text.length);
    tdm_text_free(&text);
    return status;
}

static tdm_status csv_number(tdm_text *text, double value)
{
    return isfinite(value) ? tdm_text_printf(text, ",%.17g", value) : tdm_text_append(text, ",", 1);
}

static tdm_status csv_lines(const tdm_study_table *table, tdm_text *text)
{
    static const char *const column[] = {"mean", "std", "difference", "p"};
    TDM_TRY(tdm_text_printf(text, "label,runs,failed"));
    for (int64_t k = 0; k < table->metrics; k++)
        for (int c = 0; c < 4; c++) TDM_TRY(tdm_text_printf(text, ",%s.%s", table->metric[k], column[c]));
    for (int64_t r = 0; r < table->lines; r++) {
        const tdm_study_line *line = &table->line[r];
        TDM_TRY(tdm_text_append(text, "\n", 1));
        TDM_TRY(tdm_text_csv(text, line->label));
        TDM_TRY(tdm_text_printf(text, ",%lld,%lld", (long long)line->runs, (long long)line->failed));
        for (int64_t k = 0; k < table->metrics; k++) {
            const tdm_study_cell *cell = &line->cell[k];
            const double value[] = {cell->mean, cell->std, cell->difference, cell->p};
            for (int c = 0; c < 4; c++) TDM_TRY(csv_number(text, value[c]));
        }
    }
    return tdm_text_append(text, "\n", 1);
}

tdm_status study_write_csv(const tdm_study_table *table, const char *path)
{
    return write_lines(table, csv_lines, path);
}

static tdm_status latex_cell(tdm_text *text, const tdm_study_cell *cell, bool is_share)
{
    const double factor = is_share ? 100.0 : 1.0;
    if (!cell->n) return tdm_text_printf(text, " & --");
    TDM_TRY(tdm_text_printf(text, " & $%.2f", factor * cell->mean));
    if (isfinite(cell->std)) TDM_TRY(tdm_text_printf(text, " \\pm %.2f", factor * cell->std));
    return tdm_text_printf(text, "$");
}

static tdm_status latex_lines(const tdm_study_table *table, tdm_text *text)
{
    TDM_TRY(tdm_text_printf(text, "%% needs \\usepackage{booktabs}\n\\begin{tabular}{l"));
    for (int64_t k = 0; k < table->metrics; k++) TDM_TRY(tdm_text_append(text, "r", 1));
    TDM_TRY(tdm_text_printf(text, "}\n\\toprule\n"));
    for (int64_t k = 0; k < table->metrics; k++) {
        TDM_TRY(tdm_text_printf(text, " & "));
        TDM_TRY(tdm_text_latex(text, table->label[k]));
    }
    TDM_TRY(tdm_text_printf(text, " \\\\\n\\midrule\n"));
    for (int64_t r = 0; r < table->lines; r++) {
        TDM_TRY(tdm_text_latex(text, table->line[r].label));
        for (int64_t k = 0; k < table->metrics; k++)
            TDM_TRY(latex_cell(text, &table->line[r].cell[k], table->is_share[k]));
        TDM_TRY(tdm_text_printf(text, " \\\\\n"));
    }
    return tdm_text_printf(text, "\\bottomrule\n\\end{tabular}\n");
}

tdm_status study_write_latex(const tdm_study_table *table, const char *path)
{
    return write_lines(table, latex_lines, path);
}

/* ---- Text ---- */

enum { COLUMN = 15 }; /* of figures, at least: "44.12 ± 0.53" */

static int column_width(const tdm_study_table *table, int64_t k)
{
    const int width = (int)strlen(table->label[k]);
    return width < COLUMN ? COLUMN : width;
}

static tdm_status text_cell(tdm_text *text, const tdm_study_cell *cell, bool is_share, int width)
{
    const double factor = is_share ? 100.0 : 1.0;
    char figures[64] = "-";
    if (cell->n == 1) snprintf(figures, sizeof figures, "%.2f", factor * cell->mean);
    if (cell->n > 1)
        snprintf(figures, sizeof figures, "%.2f ± %.2f", factor * cell->mean, factor * cell->std);
    const int bytes = (cell->n > 1) + width; /* the sign has two bytes and one column */
    return tdm_text_printf(text, "  %*s", bytes, figures);
}

static tdm_status text_line(const tdm_study_table *table, const tdm_study_line *line, int label,
                            tdm_text *text)
{
    TDM_TRY(tdm_text_printf(text, "%-*s  %4lld", label, line->label, (long long)line->runs));
    for (int64_t k = 0; k < table->metrics; k++)
        TDM_TRY(text_cell(text, &line->cell[k], table->is_share[k], column_width(table, k)));
    if (line->failed) TDM_TRY(tdm_text_printf(text, "  %lld failed", (long long)line->failed));
    return tdm_text_append(text, "\n", 1);
}

static tdm_status text_lines(const tdm_study_table *table, tdm_text *text)
{
    int label = 0;
    for (int64_t r = 0; r < table->lines; r++) {
        const int length = (int)strlen(table->line[r].label);
        if (length > label) label = length;
    }
    TDM_TRY(tdm_text_printf(text, "%s\n%-*s  runs", table->title, label, ""));
    for (int64_t k = 0; k < table->metrics; k++)
        TDM_TRY(tdm_text_printf(text, "  %*s", column_width(table, k), table->label[k]));
    TDM_TRY(tdm_text_append(text, "\n", 1));
    for (int64_t r = 0; r < table->lines; r++) TDM_TRY(text_line(table, &table->line[r], label, text));
    return TDM_OK;
}

tdm_status study_write_text(const tdm_study_table *table, const char *path)
{
    return write_lines(table, text_lines, path);
}
