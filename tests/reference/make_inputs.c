/* make_inputs FIT ALPHA PX < paths > floats: what a model sees of each image file, f32 [3][PX][PX], with
 * CLIP's mean and standard deviation. FIT: crop, squash or longest; ALPHA: drop or white. For preprocess.py.
 */
#include "tandem/image.h"
#include "tandem/ops.h"

#include <stdlib.h>
#include <string.h>

typedef struct input_job {
    tdm_tower_config tower;
    tdm_ops *ops;
    tdm_image_work *work;
    int64_t px;
    uint8_t *pixel; /* [px][px][3] */
    float *row;     /* [3][px][px] */
} input_job;

static tdm_status make_input(input_job *job, const char *path)
{
    static const double mean[3] = {0.48145466, 0.4578275, 0.40821073};
    static const double std[3] = {0.26862954, 0.26130258, 0.27577711};
    const tdm_image_policy policy = tdm_image_policy_of(&job->tower);
    const tdm_image_request plain = {.out = job->pixel};
    tdm_text file = {0};
    tdm_status status = tdm_read_file(path, &file);
    if (status == TDM_OK)
        status = tdm_image_make(job->work, path, file.data, file.length, policy, job->px, job->px, 1, &plain);
    tdm_text_free(&file);
    TDM_TRY(status);
    tdm_patchify(job->ops, 1, job->px, job->px, job->px, 0, NULL, job->pixel, mean, std, job->row);
    const size_t values = (size_t)(3 * job->px * job->px);
    TDM_REQUIRE(fwrite(job->row, sizeof *job->row, values, stdout) == values, TDM_E_IO, "cannot write");
    return TDM_OK;
}

static tdm_status make_inputs(input_job *job)
{
    char path[4096];
    TDM_TRY(tdm_ops_create(TDM_F32, 1, &job->ops));
    TDM_TRY(tdm_image_work_create(&job->work));
    TDM_TRY(TDM_ALLOC(job->px * job->px * 3, &job->pixel));
    TDM_TRY(TDM_ALLOC(job->px * job->px * 3, &job->row));
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = '\0';
        TDM_TRY(make_input(job, path));
    }
    return TDM_OK;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: make_inputs crop|squash|longest drop|white PX < paths > floats\n");
        return 2;
    }
    input_job job = {.tower = {.resize = argv[1], .alpha = argv[2]}, .px = atoll(argv[3])};
    const tdm_status status = make_inputs(&job);
    if (status != TDM_OK) fprintf(stderr, "make_inputs: %s\n", tdm_error_last()->message);
    tdm_image_work_destroy(&job.work);
    tdm_ops_destroy(&job.ops);
    tdm_free(job.pixel);
    tdm_free(job.row);
    return status != TDM_OK;
}
