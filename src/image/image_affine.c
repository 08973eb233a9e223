/* Pillow's affine transform with the nearest neighbour (src/libImaging/Geometry.c), which steps through the source in
 * fixed point with 16 bits behind the point. */
#include "image_impl.h"

#include <math.h>
#include <string.h>

/* In fixed point; Pillow rounds down half-way cases of negative numbers, too. */
static int64_t fixed(double value)
{
    return (int64_t)floor(value * 65536.0 + 0.5);
}

/* ---- without a turn or a shear: every row and column has one source ---- */

static int64_t place(double value)
{
    return value < 0.0 ? -1 : (int64_t)value;
}

static void scale(const double m[6], int fill, int64_t height, int64_t width, const uint8_t *from,
                  uint8_t *to)
{
    double y = m[5] + m[4] * 0.5;
    for (int64_t row = 0; row < height; row++, y += m[4]) {
        const int64_t in_y = place(y);
        double x = m[2] + m[0] * 0.5;
        for (int64_t column = 0; column < width; column++, to += IMAGE_RGB, x += m[0]) {
            const int64_t in_x = place(x);
            if (in_y >= 0 && in_y < height && in_x >= 0 && in_x < width)
                memcpy(to, from + (in_y * width + in_x) * IMAGE_RGB, IMAGE_RGB);
            else
                memset(to, fill, IMAGE_RGB);
        }
    }
}

/* ---- with one ---- */

static void turn(const double m[6], int fill, int64_t height, int64_t width, const uint8_t *from, uint8_t *to)
{
    const int64_t across[2] = {fixed(m[0]), fixed(m[3])}, down[2] = {fixed(m[1]), fixed(m[4])};
    int64_t first[2] = {fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), fixed(m[5] + m[3] * 0.5 + m[4] * 0.5)};
    for (int64_t row = 0; row < height; row++) {
        int64_t x = first[0], y = first[1];
        for (int64_t column = 0; column < width; column++, to += IMAGE_RGB) {
            const int64_t in_x = x >> 16, in_y = y >> 16;
            if (in_x >= 0 && in_x < width && in_y >= 0 && in_y < height)
                memcpy(to, from + (in_y * width + in_x) * IMAGE_RGB, IMAGE_RGB);
            else
                memset(to, fill, IMAGE_RGB);
            x += across[0];
            y += across[1];
        }
        first[0] += down[0];
        first[1] += down[1];
    }
}

tdm_status image_affine(tdm_image_work *work, const double matrix[6], int fill, int64_t height, int64_t width,
                        uint8_t *pixel)
{
    const int64_t bytes = height * width * IMAGE_RGB;
    uint8_t *from;
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], bytes, &from));
    memcpy(from, pixel, (size_t)bytes);
    if (matrix[1] == 0.0 && matrix[3] == 0.0)
        scale(matrix, fill, height, width, from, pixel);
    else
        turn(matrix, fill, height, width, from, pixel);
    return TDM_OK;
}

static void swap_pixels(uint8_t *a, uint8_t *b)
{
    uint8_t kept[IMAGE_RGB];
    memcpy(kept, a, IMAGE_RGB);
    memcpy(a, b, IMAGE_RGB);
    memcpy(b, kept, IMAGE_RGB);
}

/* Half a turn is the pixels in reverse order. */
static void reverse(uint8_t *pixel, int64_t n)
{
    for (int64_t i = 0; i < n / 2; i++) swap_pixels(pixel + i * IMAGE_RGB, pixel + (n - 1 - i) * IMAGE_RGB);
}

/* A quarter of a turn of a square, counter-clockwise. */
static tdm_status turn_square(tdm_image_work *work, int64_t size, uint8_t *pixel)
{
    uint8_t *from;
    TDM_TRY(IMAGE_TAKE(&work->scratch[0], size * size * IMAGE_RGB, &from));
    memcpy(from, pixel, (size_t)(size * size * IMAGE_RGB));
    for (int64_t row = 0; row < size; row++)
        for (int64_t column = 0; column < size; column++)
            memcpy(pixel + (row * size + column) * IMAGE_RGB,
                   from + (column * size + size - 1 - row) * IMAGE_RGB, IMAGE_RGB);
    return TDM_OK;
}

/* Python's round(x, 15), which Pillow applies to sine and cosine. */
static double rounded(double value)
{
    return nearbyint(value * 1e15) / 1e15;
}

tdm_status image_rotate(tdm_image_work *work, double degrees, int fill, int64_t height, int64_t width,
                        uint8_t *pixel)
{
    const double turn_of = degrees - 360.0 * floor(degrees / 360.0);
    if (turn_of == 0.0) return TDM_OK;
    if (turn_of == 180.0 || (turn_of == 270.0 && height == width)) reverse(pixel, height * width);
    if (turn_of == 180.0) return TDM_OK;
    if ((turn_of == 90.0 || turn_of == 270.0) && height == width) return turn_square(work, height, pixel);
    const double angle = -turn_of * acos(-1.0) / 180.0;
    const double x = (double)width / 2.0, y = (double)height / 2.0;
    double m[6] = {rounded(cos(angle)), rounded(sin(angle)), 0, rounded(-sin(angle)), rounded(cos(angle)), 0};
    m[2] = m[0] * -x + m[1] * -y + x;
    m[5] = m[3] * -x + m[4] * -y + y;
    return image_affine(work, m, fill, height, width, pixel);
}
