/* Line charts as inline SVG. Colours come from the page's style, so that they follow light and dark. */
#include "report_impl.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 560, HEIGHT = 260, LEFT = 58, RIGHT = 26, TOP = 12, BOTTOM = 40, MAX_TICKS = 12 };

typedef struct axis {
    double low, high, step;
    bool is_log; /* low and high are decimal logarithms */
} axis;

/* A step of 1, 2 or 5 times a power of ten that gives about `wanted` intervals. */
static double nice_step(double range, int wanted)
{
    const double raw = range / wanted, power = pow(10, floor(log10(raw)));
    const double digit = raw / power;
    return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power;
}

/* loose: the ends are rounded outwards to ticks. */
static axis make_axis(double low, double high, int wanted, bool loose)
{
    if (!(high > low)) { /* one value only: room around it */
        const double room = low == 0 ? 1 : fabs(low) * 0.1;
        low -= room;
        high += room;
    }
    axis a = {.low = low, .high = high, .step = nice_step(high - low, wanted)};
    if (loose) {
        a.low = floor(low / a.step) * a.step;
        a.high = ceil(high / a.step) * a.step;
    }
    return a;
}

static double x_at(const axis *x, double value)
{
    const double at = x->is_log ? log10(value) : value;
    return LEFT + (WIDTH - LEFT - RIGHT) * (at - x->low) / (x->high - x->low);
}

static double y_at(const axis *y, double value)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - y->low) / (y->high - y->low);
}

/* As many decimals as the tick's step has, thousands and millions with a letter. */
static void show_tick(char out[32], double value, double step)
{
    const double size = fabs(value);
    const double unit = size >= 1e6 ? 1e6 : size >= 1e4 ? 1e3 : 1;
    const int decimals = (int)fmax(0, ceil(-log10(step / unit) - 1e-9));
    if (fabs(value) < step * 1e-6)
        snprintf(out, 32, "0");
    else if (decimals > 4)
        snprintf(out, 32, "%.*e", size >= step * 10 ? 1 : 0, value);
    else
        snprintf(out, 32, "%.*f%s", decimals, value / unit, unit > 1e3 ? "M" : unit > 1 ? "k" : "");
}

/* Tick i of an axis; beyond its end there are no more. A logarithmic one has 1, 2, 5 of each power of ten, a long one the
 * powers alone. */
static double tick_at(const axis *a, int i)
{
    static const double digit[] = {1, 2, 5};
    if (!a->is_log) return (ceil(a->low / a->step - 1e-9) + i) * a->step;
    const bool is_long = a->high - a->low > 3;
    return pow(10, ceil(a->low - 1e-9) + (is_long ? i : i / 3)) * (is_long ? 1 : digit[i % 3]);
}

static bool is_beyond(const axis *a, double tick)
{
    return a->is_log ? log10(tick) > a->high + 1e-9 : tick > a->high + a->step * 1e-6;
}

static tdm_status append_axes(tdm_text *html, const axis *x, const axis *y, const char *x_title)
{
    char label[32];
    for (int i = 0; i <= MAX_TICKS; i++) {
        const double value = tick_at(y, i);
        if (is_beyond(y, value)) break;
        show_tick(label, value, y->step);
        const double at = y_at(y, value);
        TDM_TRY(tdm_text_printf(html,
                                "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                                LEFT, WIDTH - RIGHT, at, at, LEFT - 8, at + 4, label));
    }
    for (int i = 0; i <= MAX_TICKS; i++) {
        const double value = tick_at(x, i);
        if (is_beyond(x, value)) break;
        show_tick(label, value, x->is_log ? value : x->step);
        const double at = x_at(x, value);
        TDM_TRY(tdm_text_printf(html,
                                "<line class=\"a\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                                at, at, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, at, HEIGHT - BOTTOM + 18,
                                label));
    }
    return tdm_text_printf(html,
                           "<line class=\"a\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>"
                           "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                           LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2,
                           HEIGHT - 5, x_title);
}

/* The points from `begin` on that fall into one column of pixels: at most four are drawn. */
typedef struct column_points {
    double x, first, low, high, last;
    int64_t end;
} column_points;

static column_points gather_column(const chart_series *s, int64_t begin, const axis *x)
{
    const double pixel = floor(x_at(x, s->x[begin]));
    column_points c = {.x = s->x[begin], .first = s->y[begin], .low = s->y[begin], .high = s->y[begin]};
    for (c.end = begin; c.end < s->n && isfinite(s->y[c.end]); c.end++) {
        if (floor(x_at(x, s->x[c.end])) != pixel) break;
        c.low = fmin(c.low, s->y[c.end]);
        c.high = fmax(c.high, s->y[c.end]);
        c.last = s->y[c.end];
    }
    return c;
}

static tdm_status append_point(tdm_text *html, const axis *x, const axis *y, double px, double py)
{
    return tdm_text_printf(html, "%.1f,%.1f ", x_at(x, px), y_at(y, py));
}

/* One stretch of finite values from `begin`; *end is where it stops. */
static tdm_status append_stretch(tdm_text *html, const chart_series *s, const axis *x, const axis *y,
                                 int index, int64_t begin, int64_t *end)
{
    int64_t at = begin;
    TDM_TRY(tdm_text_printf(html, "<polyline style=\"stroke:var(--s%d)\" points=\"", index));
    while (at < s->n && isfinite(s->y[at])) {
        const column_points c = gather_column(s, at, x);
        TDM_TRY(append_point(html, x, y, c.x, c.first));
        if (c.end - at > 1) { /* the extremes of the column, so that no spike is lost */
            if (c.low != c.first && c.low != c.last) TDM_TRY(append_point(html, x, y, c.x, c.low));
            if (c.high != c.first && c.high != c.last) TDM_TRY(append_point(html, x, y, c.x, c.high));
            TDM_TRY(append_point(html, x, y, c.x, c.last));
        }
        at = c.end;
    }
    *end = at;
    return tdm_text_printf(html, "\"/>\n");
}

static tdm_status append_series(tdm_text *html, const chart_series *s, const axis *x, const axis *y,
                                int index)
{
    for (int64_t i = 0; i < s->n;) {
        if (!isfinite(s->y[i])) {
            i++;
            continue;
        }
        const int64_t begin = i;
        TDM_TRY(append_stretch(html, s, x, y, index, begin, &i));
        if (i - begin == 1 || s->n <= 24)
            for (int64_t j = begin; j < i; j++)
                TDM_TRY(tdm_text_printf(
                    html, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" style=\"fill:var(--s%d)\"/>\n",
                    x_at(x, s->x[j]), y_at(y, s->y[j]), index));
    }
    return TDM_OK;
}

static double last_finite(const chart_series *s)
{
    for (int64_t i = s->n; i > 0; i--)
        if (isfinite(s->y[i - 1])) return s->y[i - 1];
    return NAN;
}

static tdm_status append_legend(tdm_text *html, const line_chart *chart)
{
    TDM_TRY(tdm_text_printf(html, "<div class=\"legend\">"));
    for (int i = 0; i < chart->series_count; i++) {
        char value[32];
        const double last = last_finite(&chart->series[i]);
        if (!isfinite(last)) continue;
        show_value(value, last);
        TDM_TRY(tdm_text_printf(html, "<span><i style=\"background:var(--s%d)\"></i>", i));
        TDM_TRY(tdm_text_html(html, chart->series[i].name));
        TDM_TRY(tdm_text_printf(html, " <b>%s</b></span>", value));
    }
    return tdm_text_printf(html, "</div>\n");
}

/* Ranges over all finite points; false when there is none. */
static bool find_range(const line_chart *chart, double range[4])
{
    range[0] = range[2] = INFINITY;
    range[1] = range[3] = -INFINITY;
    for (int i = 0; i < chart->series_count; i++)
        for (int64_t j = 0; j < chart->series[i].n; j++) {
            const double x = chart->series[i].x[j], y = chart->series[i].y[j];
            if (!isfinite(x) || !isfinite(y)) continue;
            range[0] = fmin(range[0], x);
            range[1] = fmax(range[1], x);
            range[2] = fmin(range[2], y);
            range[3] = fmax(range[3], y);
        }
    return range[0] <= range[1];
}

tdm_status chart_append(tdm_text *html, const line_chart *chart)
{
    double range[4];
    if (!find_range(chart, range)) return TDM_OK;
    if (chart->from_zero) range[2] = fmin(0, range[2]);
    if (chart->from_zero && range[3] <= range[2]) range[3] = 1;
    if (chart->x_is_log) range[0] = log10(range[0]);
    if (chart->x_is_log) range[1] = log10(range[1]);
    axis x = make_axis(range[0], range[1], 6, false);
    const axis y = make_axis(range[2], range[3], 5, true);
    x.is_log = chart->x_is_log;
    TDM_TRY(tdm_text_printf(html, "<figure>\n<figcaption>"));
    TDM_TRY(tdm_text_html(html, chart->title));
    if (chart->unit[0] != '\0') TDM_TRY(tdm_text_printf(html, " <i>%s</i>", chart->unit));
    TDM_TRY(tdm_text_printf(html, "</figcaption>\n"));
    TDM_TRY(append_legend(html, chart));
    TDM_TRY(tdm_text_printf(html, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT));
    TDM_TRY(tdm_text_html(html, chart->title));
    TDM_TRY(tdm_text_printf(html, "\">\n"));
    TDM_TRY(append_axes(html, &x, &y, chart->x_title));
    for (int i = 0; i < chart->series_count; i++) TDM_TRY(append_series(html, &chart->series[i], &x, &y, i));
    return tdm_text_printf(html, "</svg>\n</figure>\n");
}
