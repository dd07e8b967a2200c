select
    -- keys
    make_date(2010, 1, 1) + cast(day_offsets.day_number as int) as day_date,

    -- dates
    cast(
        date_trunc(
            'month', make_date(2010, 1, 1) + cast(day_offsets.day_number as int)
        ) as date
    ) as month_date

from range(0, 14975) as day_offsets (day_number)
