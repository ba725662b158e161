from django.db import migrations, models
import django.utils.timezone


class Migration(migrations.Migration):
    """One catalogue for each plan. What was kept is only a copy of upstream's, so it is not carried over."""

    dependencies = [("proxy", "0002_model_catalogue")]

    operations = [
        migrations.DeleteModel("ModelCatalogue"),
        migrations.CreateModel(
            name="ModelCatalogue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("query", models.CharField(max_length=200)),
                ("plan_type", models.CharField(max_length=64)),
                ("body", models.TextField()),
                ("etag", models.CharField(blank=True, max_length=200)),
                ("fetched_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("query", "plan_type"), name="one_catalogue_for_each_plan")
                ],
            },
        ),
    ]
