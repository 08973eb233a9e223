/* For sanitizer builds: plug-ins of MPI stay mapped until the process ends, so that LeakSanitizer can name
 * the module of what they leak and lsan.supp can recognise it. */
int dlclose(void *handle);

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
