with measure_information as (
    select * from {{ ref('stg_lora_batiments__measure_information') }}
),

measure_natures as (
    select * from {{ ref('measure_natures') }}
    where valid_to is null
),

measure_units as (
    select * from {{ ref('measure_units') }}
    where valid_to is null
),

tariff_periods as (
    select * from {{ ref('tariff_periods') }}
    where valid_to is null
),

channels as (

    select
        measure_information.*,
        measure_units.kwh_per_unit,
        case
            when measure_natures.measure_nature_id is not null
                then measure_natures.quantity
            -- A register says what it counts by its name, whatever its nature.
            when tariff_periods.tariff_period is not null then 'active_energy'
        end as quantity,
        case
            when measure_natures.measure_nature_id is not null
                then measure_natures.flow
            when measure_information.measure_name like '%EAP_s' then 'consumed'
            when measure_information.measure_name like '%EAP_i' then 'produced'
        end as flow
    from measure_information
    left join measure_natures
        on measure_information.measure_nature_id = measure_natures.measure_nature_id
    left join measure_units on measure_information.unit_id = measure_units.unit_id
    left join tariff_periods
        on
            regexp_extract(measure_information.measure_name, '([^:]+):EAP_[si]$', 1)
            = tariff_periods.tariff_period

)

select
    -- keys
    channels.channel_id,
    channels.deveui,
    channels.measure_name,
    channels.measure_nature_id,
    channels.unit_id,

    -- attributes
    channels.quantity,
    channels.flow,
    case
        when channels.quantity is null then 'nature_not_known'
        when channels.quantity = 'active_energy' and channels.kwh_per_unit is null
            then 'unit_not_known'
    end as channel_reason,
    coalesce(channels.flow = 'consumed', channels.kwh_per_unit is not null)
        as is_withdrawn,

    -- measures
    channels.step_s,
    channels.kwh_per_unit,

    -- dates
    channels.enabled_date,
    channels.disabled_date

from channels
