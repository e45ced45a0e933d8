"""The pinned server versions: a newer FastAPI does not start, a newer SQLAlchemy schedules no runs."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import temporary_settings

from flows.edit_video import edit_video


@pytest.mark.server
def test_a_deployment_with_a_cron_schedule_gets_runs(prefect_service, until):
    with temporary_settings(prefect_service.client_settings), get_client(sync_client=True) as client:
        every_minute = DeploymentScheduleCreate(schedule=CronSchedule(cron="* * * * *"), active=True)
        flow = client.create_flow(edit_video)
        client.create_deployment(flow, "nightly", schedules=[every_minute])

        runs = until(client.read_flow_runs)
        assert {run.state.name for run in runs} == {"Scheduled"}
