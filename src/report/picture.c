/* Points in the plane as inline SVG. Without a script: what a point shows lies beside it, hidden until the point is
 * pointed at; the ways to place the points are custom properties, of which radio buttons choose. */
#include "report_impl.h"

#include <math.h>
#include <stdlib.h>

enum {
    WIDTH = 1000,
    HEIGHT = 640,
    PLOT = 750, /* width of the points' field; what is pointed at stands to the right of it */
    MARGIN = 12,
    GAP = 16,
    HUES = 10,
    COLOURS = 2 * HUES /* each hue full and pale */
};

static const char style[] =
    ".map{margin-top:22px;--s7:#8b5a2b;--s8:#5f8700;--s9:#c81e1e}\n"
    "@media(prefers-color-scheme:dark){.map{--s7:#d0a37a;--s8:#b5d33d;--s9:#ff6b6b}}\n"
    ".map input{position:absolute;opacity:0}.map label{display:inline-block;margin:8px 6px 8px 0;padding:2px 14px;"
    "border:1px solid var(--line);border-radius:7px;cursor:pointer;font-weight:600}\n"
    ".map input:checked+label{background:var(--ink);color:var(--card)}"
    ".map input:focus-visible+label{outline:2px solid var(--s0)}\n"
    ".map .way{display:none;color:var(--soft);font-size:13px;margin:0 0 8px}\n"
    ".map .legend{margin:4px 0 8px}.map .legend span{cursor:default}"
    ".map .legend i{width:10px;height:10px;border-radius:5px;vertical-align:-1px;background:var(--c)}\n"
    ".map svg{overflow:visible}.map .field{fill:none;stroke:var(--grid)}\n"
    ".map .m{color:var(--c);opacity:.85;transition:transform .6s}.map .kx .m{opacity:.4}\n"
    ".map .m,.map .legend{--c:var(--soft)}\n"
    ".map .p:hover .m{color:var(--ink);opacity:1}\n"
    ".map .t{display:none;pointer-events:none}.map .p:hover .t{display:block}"
    ".map svg:has(.p:hover) .hint{display:none}\n"
    ".map .t div{font-size:15px;line-height:1.35;overflow-wrap:anywhere}.map .t img{display:block;width:96px;"
    "height:96px;object-fit:contain;background:#fff;border:1px solid var(--line);border-radius:6px;margin-bottom:8px}\n"
    ".map .t span{display:block;color:var(--soft);font-size:13px;margin-top:4px}\n";

/* ---- Colours: the largest groups have one, the others are grey ---- */

typedef struct group_count {
    int64_t group, points;
    int colour; /* -1: grey */
} group_count;

static int compare_counts(const void *a, const void *b)
{
    const group_count *x = a, *y = b;
    if (x->points != y->points) return x->points > y->points ? -1 : 1;
    return x->group < y->group ? -1 : 1;
}

static int compare_groups(const void *a, const void *b)
{
    const group_count *x = a, *y = b;
    return x->group < y->group ? -1 : 1;
}

/* count[groups] in the order of the groups. */
static void choose_colours(const tdm_picture *picture, group_count *count)
{
    const size_t groups = (size_t)picture->groups;
    for (int64_t g = 0; g < picture->groups; g++) count[g].group = g;
    for (int64_t i = 0; i < picture->n; i++)
        if (picture->point[i].group >= 0) count[picture->point[i].group].points++;
    qsort(count, groups, sizeof *count, compare_counts);
    for (int64_t g = 0; g < picture->groups; g++)
        count[g].colour = g < COLOURS && count[g].points > 0 ? (int)g : -1;
    qsort(count, groups, sizeof *count, compare_groups);
}

/* Without groups images and texts have two. */
static int colour_of(const tdm_picture *picture, const group_count *count, const tdm_picture_point *point)
{
    if (picture->groups == 0) return point->is_text;
    return point->group < 0 ? -1 : count[point->group].colour;
}

/* Class of elements: k0 … k19, kx. */
static void colour_class(int colour, char out[16])
{
    snprintf(out, 16, "kx");
    if (colour >= 0) snprintf(out, 16, "k%d", colour);
}

/* What is pointed at in the legend stands out. */
static tdm_status append_colour_rules(tdm_text *html)
{
    char class[16];
    for (int k = -1; k < COLOURS; k++) {
        colour_class(k, class);
        if (k >= 0 && k < HUES)
            TDM_TRY(tdm_text_printf(html, ".map .%s,.map .%s .m{--c:var(--s%d)}", class, class, k));
        if (k >= HUES)
            TDM_TRY(tdm_text_printf(
                html, ".map .%s,.map .%s .m{--c:color-mix(in srgb,var(--s%d) 50%%,var(--card))}", class,
                class, k - HUES));
        TDM_TRY(
            tdm_text_printf(html, ".map:has(.legend .%s:hover) .p:not(.%s){opacity:.08}\n", class, class));
    }
    return TDM_OK;
}

/* ---- Legend ---- */

static tdm_status append_entry(tdm_text *html, int colour, const char *name, int64_t points)
{
    char class[16];
    colour_class(colour, class);
    TDM_TRY(tdm_text_printf(html, "<span class=\"%s\"><i></i>", class));
    TDM_TRY(tdm_text_html(html, name));
    return tdm_text_printf(html, " <b>%lld</b></span>", (long long)points);
}

static tdm_status append_legend(tdm_text *html, const tdm_picture *picture, const group_count *count)
{
    int64_t texts = 0, grey_groups = 0, grey = 0, without = 0;
    for (int64_t i = 0; i < picture->n; i++) {
        texts += picture->point[i].is_text;
        without += picture->point[i].group < 0;
    }
    TDM_TRY(tdm_text_printf(html,
                            "<div class=\"legend\"><span class=\"%s\">● images <b>%lld</b></span>"
                            "<span class=\"%s\">✕ texts <b>%lld</b></span>\n",
                            picture->groups == 0 ? "k0" : "marks", (long long)(picture->n - texts),
                            picture->groups == 0 ? "k1" : "marks", (long long)texts));
    for (int64_t g = 0; g < picture->groups; g++) {
        if (count[g].colour >= 0)
            TDM_TRY(append_entry(html, count[g].colour, picture->group[g], count[g].points));
        else
            grey_groups += count[g].points > 0;
        grey += count[g].colour < 0 ? count[g].points : 0;
    }
    if (picture->groups > 0 && grey + without > 0) {
        char name[64] = "none";
        if (grey_groups > 0)
            snprintf(name, sizeof name, "%lld others%s", (long long)grey_groups,
                     without > 0 ? " and none" : "");
        TDM_TRY(append_entry(html, -1, name, grey + without));
    }
    return tdm_text_printf(html, "</div>\n");
}

/* ---- Points ---- */

/* From the places of a view to the field: the same scale in both directions. */
typedef struct frame {
    double scale, x, y; /* of the field's centre */
} frame;

static frame make_frame(const tdm_picture *picture, const double *place)
{
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int64_t i = 0; i < 2 * picture->n; i++) {
        low[i % 2] = fmin(low[i % 2], place[i]);
        high[i % 2] = fmax(high[i % 2], place[i]);
    }
    const double scale =
        fmin((PLOT - 2 * MARGIN) / (high[0] - low[0]), (HEIGHT - 2 * MARGIN) / (high[1] - low[1]));
    return (frame){
        .scale = isfinite(scale) ? scale : 0, .x = (low[0] + high[0]) / 2, .y = (low[1] + high[1]) / 2};
}

/* The first view's place is an attribute, those of the others custom properties. */
static tdm_status append_places(tdm_text *html, const tdm_picture *picture, const frame *frames, int64_t i)
{
    for (int64_t v = 0; v < picture->views; v++) {
        const double *place = picture->view[v].place + 2 * i;
        const double x = PLOT / 2.0 + (place[0] - frames[v].x) * frames[v].scale,
                     y = HEIGHT / 2.0 - (place[1] - frames[v].y) * frames[v].scale;
        if (v == 0)
            TDM_TRY(tdm_text_printf(html, " transform=\"translate(%.1f %.1f)\"", x, y));
        else
            TDM_TRY(tdm_text_printf(html, "%s--x%lld:%.1fpx;--y%lld:%.1fpx", v == 1 ? " style=\"" : ";",
                                    (long long)v, x, (long long)v, y));
    }
    return picture->views > 1 ? tdm_text_append(html, "\"", 1) : TDM_OK;
}

static tdm_status append_tip(tdm_text *html, const tdm_picture *picture, const tdm_picture_point *point)
{
    bool known = false;
    tdm_text source = {0};
    TDM_TRY(tdm_text_printf(html,
                            "<foreignObject class=\"t\" x=\"%d\" y=\"0\" width=\"%d\" height=\"%d\"><div>",
                            PLOT + GAP, WIDTH - PLOT - GAP, HEIGHT));
    tdm_status status = html_image_source(&source, point->image, point->image_bytes, &known);
    if (status == TDM_OK && known) status = tdm_text_printf(html, "<img alt=\"\" %s>", source.data);
    tdm_text_free(&source);
    TDM_TRY(status);
    if (point->text != NULL) TDM_TRY(tdm_text_html(html, point->text));
    TDM_TRY(tdm_text_printf(html, "<span>"));
    if (point->group >= 0) TDM_TRY(tdm_text_html(html, picture->group[point->group]));
    TDM_TRY(tdm_text_printf(html, "</span><span>"));
    if (point->name != NULL) TDM_TRY(tdm_text_html(html, point->name));
    return tdm_text_printf(html, "</span></div></foreignObject>");
}

/* Grey points first, so that they cover none of the others. */
static tdm_status append_points(tdm_text *html, const tdm_picture *picture, const group_count *count,
                                const frame *frames)
{
    char class[16];
    for (int grey = 1; grey >= 0; grey--)
        for (int64_t i = 0; i < picture->n; i++) {
            const tdm_picture_point *point = &picture->point[i];
            const int colour = colour_of(picture, count, point);
            if ((colour < 0) != grey) continue;
            colour_class(colour, class);
            TDM_TRY(tdm_text_printf(html, "<g class=\"p %s\"><use class=\"m\" href=\"#%s\"", class,
                                    point->is_text ? "text-mark" : "image-mark"));
            TDM_TRY(append_places(html, picture, frames, i));
            TDM_TRY(tdm_text_printf(html, "/>"));
            TDM_TRY(append_tip(html, picture, point));
            TDM_TRY(tdm_text_printf(html, "</g>\n"));
        }
    return TDM_OK;
}

/* ---- The figure ---- */

static tdm_status append_views(tdm_text *html, const tdm_picture *picture)
{
    for (int64_t v = 0; v < picture->views; v++) {
        const long long n = v;
        TDM_TRY(tdm_text_printf(html, "<style>#way%lld:checked~.way%lld{display:block}", n, n));
        if (v > 0)
            TDM_TRY(tdm_text_printf(
                html, "#way%lld:checked~svg .m{transform:translate(var(--x%lld),var(--y%lld))}", n, n, n));
        TDM_TRY(tdm_text_printf(html,
                                "</style><input type=\"radio\" name=\"way\" id=\"way%lld\"%s>"
                                "<label for=\"way%lld\">%s</label>\n",
                                n, v == 0 ? " checked" : "", n, picture->view[v].title));
    }
    for (int64_t v = 0; v < picture->views; v++) {
        TDM_TRY(tdm_text_printf(html, "<p class=\"way way%lld\">", (long long)v));
        TDM_TRY(tdm_text_html(html, picture->view[v].note));
        TDM_TRY(tdm_text_printf(html, "</p>\n"));
    }
    return TDM_OK;
}

static tdm_status append_figure(tdm_text *html, const tdm_picture *picture, group_count *count, frame *frames)
{
    choose_colours(picture, count);
    for (int64_t v = 0; v < picture->views; v++) frames[v] = make_frame(picture, picture->view[v].place);
    TDM_TRY(tdm_text_printf(html, "<style>\n%s", style));
    TDM_TRY(append_colour_rules(html));
    TDM_TRY(tdm_text_printf(html, "</style>\n<figure class=\"map\">\n<figcaption>"));
    TDM_TRY(tdm_text_html(html, picture->title));
    TDM_TRY(tdm_text_printf(html, " <i>"));
    TDM_TRY(tdm_text_html(html, picture->subtitle));
    TDM_TRY(tdm_text_printf(html, "</i></figcaption>\n"));
    TDM_TRY(append_views(html, picture));
    TDM_TRY(append_legend(html, picture, count));
    TDM_TRY(tdm_text_printf(html, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT));
    TDM_TRY(tdm_text_html(html, picture->title));
    TDM_TRY(tdm_text_printf(
        html,
        "\">\n<defs><circle id=\"image-mark\" r=\"3.6\" fill=\"currentColor\"/>"
        "<g id=\"text-mark\"><circle r=\"4\" fill=\"transparent\"/>"
        "<path d=\"M-3-3 3 3M-3 3 3-3\" stroke=\"currentColor\" stroke-width=\"1.6\"/></g></defs>\n"
        "<rect class=\"field\" x=\".5\" y=\".5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n"
        "<text class=\"hint\" x=\"%d\" y=\"16\">Point at a mark to see what it is.</text>\n",
        PLOT - 1, HEIGHT - 1, PLOT + GAP));
    TDM_TRY(append_points(html, picture, count, frames));
    return tdm_text_printf(html, "</svg>\n</figure>\n");
}

tdm_status picture_append(tdm_text *html, const tdm_picture *picture)
{
    group_count *count = NULL;
    frame *frames = NULL;
    tdm_status status = TDM_ALLOC(picture->groups, &count);
    if (status == TDM_OK) status = TDM_ALLOC(picture->views, &frames);
    if (status == TDM_OK) status = append_figure(html, picture, count, frames);
    tdm_free(count);
    tdm_free(frames);
    return status;
}
